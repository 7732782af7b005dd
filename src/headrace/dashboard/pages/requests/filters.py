"""Which requests a list shows."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Query

from headrace.control.api.routes.bodies import MAX_INTEGER

STATUSES = {
    "": "all",
    "2xx": "2xx",
    "4xx": "4xx",
    "429": "429 (too many requests)",
    "499": "499 (client disconnected)",
    "5xx": "5xx",
}

_Text = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True, slots=True)
class RequestFilters:
    """None, or 0: every one."""

    service: str | None
    revision: int | None
    key: str | None
    status: str | None
    min_duration_s: float

    def parameters(self) -> dict[str, str | int | None]:
        """Of an address with the same filters."""
        return {
            "service": self.service,
            "revision": self.revision,
            "key": self.key,
            "status": self.status,
            "min_duration_s": f"{self.min_duration_s:g}" if self.min_duration_s else None,
        }


def read_filters(
    service: _Text = "",
    revision: _Text = "",
    key: _Text = "",
    status: _Text = "",
    min_duration_s: _Text = "",
) -> RequestFilters:
    """From a form, whose empty fields are sent too. Raises 422."""
    if status not in STATUSES:
        raise HTTPException(422, f"The status must be one of {', '.join(filter(None, STATUSES))}.")
    return RequestFilters(
        service=service.strip() or None,
        revision=_number(revision),
        key=key.strip() or None,
        status=status or None,
        min_duration_s=_seconds(min_duration_s),
    )


FiltersDep = Annotated[RequestFilters, Depends(read_filters)]


def _number(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not (
        text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= MAX_INTEGER
    ):
        raise HTTPException(422, "The revision must be a number, such as 2.")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise HTTPException(422, "The duration must be a number of seconds, such as 0.5.")
    return seconds
