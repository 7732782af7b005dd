"""uvicorn's HTTP/1.1 protocol with a write timeout.

Without it a client that follows a log and never reads would hold its follower slot for ever.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_STALL_S = 60.0
"""Maximum time without progress while data is waiting to be sent."""


class HttpProtocol(H11Protocol):
    """One connection. h11 limits request heads to 64 KiB."""

    max_stall_s = MAX_STALL_S
    _timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        self._stop_watching()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        num_bytes = self.transport.get_write_buffer_size()
        self._timer = loop.call_later(self.max_stall_s, self._check, num_bytes)

    def _check(self, num_bytes_before: int) -> None:
        if self.transport.get_write_buffer_size() >= num_bytes_before:
            self.transport.abort()
        else:
            self._watch()

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
