"""One line in the log for each request, as text or JSON; none of the request's text is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from headrace.core.gateway.request_records import RequestRecord

MAX_NUM_BUFFERED = 1000
"""Lines that are written together at the latest."""

_is_plain = re.compile(r"[\w./:@+%*~-]+", re.ASCII).fullmatch


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class _Line(msgspec.Struct, omit_defaults=True):
    """The fields of a line, in their order; those without a value are left out."""

    time: str
    request_id: str
    service: str
    method: str
    path: str
    status: int
    end: str
    error_code: str | None = None
    revision: int | None = None
    replica_id: str | None = None
    key: str | None = None
    model: str | None = None
    total_s: float | None = None
    queued_s: float | None = None
    ttft_s: float | None = None
    max_gap_s: float | None = None
    num_chunks: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    num_retries: int = 0


class RequestLines:
    """Collects lines, which are written together."""

    def __init__(self, log_format: LogFormat, write: Callable[[str], object]) -> None:
        """``write`` gets one or more whole lines."""
        self._to_line = _json_line if log_format is LogFormat.JSON else _text_line
        self._write = write
        self._buffered: list[str] = []

    def add(self, record: RequestRecord) -> None:
        self._buffered.append(self._to_line(_line_of(record)))
        if len(self._buffered) >= MAX_NUM_BUFFERED:
            self.flush()

    def flush(self) -> None:
        if self._buffered:
            lines, self._buffered = self._buffered, []
            self._write("".join(lines))


def _line_of(record: RequestRecord) -> _Line:
    arrived_at = datetime.fromtimestamp(record.arrived_at, UTC)
    return _Line(
        time=arrived_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        request_id=record.request_id,
        service=record.service,
        method=record.method,
        path=record.path,
        status=record.status,
        end=str(record.end),
        error_code=record.error_code,
        revision=record.revision,
        replica_id=record.replica_id,
        key=record.key,
        model=record.model,
        total_s=_rounded(record.total_s),
        queued_s=_rounded(record.queued_s) or None,
        ttft_s=_rounded(record.ttft_s),
        max_gap_s=_rounded(record.max_gap_s),
        num_chunks=record.num_chunks or None,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        cached_tokens=record.cached_tokens,
        num_retries=record.num_retries,
    )


def _json_line(line: _Line) -> str:
    return msgspec.json.encode(line).decode() + "\n"


def _text_line(line: _Line) -> str:
    fields = msgspec.to_builtins(line)
    time = fields.pop("time")
    return " ".join([time, *(f"{name}={_quoted(value)}" for name, value in fields.items())]) + "\n"


def _quoted(value: object) -> str:
    """Clients choose some of the values; none of them may look like another field or line."""
    text = str(value)
    return text if _is_plain(text) else json.dumps(text)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
