"""A part of a page that is kept current, for everyone who watches it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from headrace.control.errors import NotFoundError
from headrace.core.errors import HeadraceError
from headrace.dashboard.rendering import LiveContent

logger = logging.getLogger("headrace.control")

Values = Mapping[str, Any]
"""What a template shows."""
Read = Callable[[], Awaitable[Values]]

_POLL_S = 0.2
"""Whether the control plane is shutting down."""
_MAX_SHARE = 0.02
"""Of the time that is spent on reading one part."""
_MAX_INTERVAL_S = 10.0


class LivePart:
    """``await run()`` reads its data once for all viewers, and renders it when it has changed."""

    def __init__(
        self,
        read: Read,
        render: Callable[[Values], LiveContent],
        *,
        interval_s: float,
        is_ending: Callable[[], bool],
    ) -> None:
        """``is_ending``: whether the control plane is shutting down."""
        self._read = read
        self._render = render
        self._interval_s = interval_s
        self._is_ending = is_ending
        self._values: Values | None = None
        self.content: LiveContent | None = None
        """None until it was read."""
        self.is_over = False
        """It no longer changes: the control plane is shutting down, or reading failed."""
        self.missing = ""
        """Why it will not: the message of a NotFoundError."""
        self.changed = asyncio.Event()
        """Set at the next change of the fields above, and then replaced."""

    async def run(self) -> None:
        """Until the control plane is shutting down or reading fails. Raises nothing."""
        try:
            while not await self._ends_within(await self._refresh()):
                pass
        except NotFoundError as error:
            self.missing = str(error)
        except HeadraceError:
            pass  # viewers connect again, with a pause
        except Exception:
            logger.exception("A part of a page cannot be rendered.")
        finally:
            self.is_over = True
            self._notify()

    async def _refresh(self) -> float:
        """Returns for how long to wait, in seconds."""
        began_s = time.monotonic()
        values = await self._read()
        if values != self._values:
            self._values = values
            content = self._render(values)
            if content != self.content:
                self.content = content
                self._notify()
        took_s = time.monotonic() - began_s
        return max(self._interval_s, min(took_s / _MAX_SHARE, _MAX_INTERVAL_S))

    async def _ends_within(self, seconds: float) -> bool:
        end_s = time.monotonic() + seconds
        while not self._is_ending():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(left_s, _POLL_S))
        return True

    def _notify(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
