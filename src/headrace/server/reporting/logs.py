"""The server's log: its format, and one line for each HTTP request.

No line contains a prompt, an output or a key.
"""

import json
import logging
import re
from datetime import UTC, datetime
from urllib.parse import quote

from headrace.server.config import LogFormat, LogLevel, UvicornLogLevel
from headrace.server.http.request_tracker import GenerationRecord, RequestRecord

access_logger = logging.getLogger("headrace.access")

_VERBOSE_LOGGERS = ("uvicorn.error", "asyncio")
"""They log every start and stop at level info, which the CLI reports already."""
_TRACE = 5
"""uvicorn's level below debug."""
_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")
"""Printable ASCII without spaces, quotes, backslashes and equals signs."""
_FIELDS = "fields"
"""The attribute of log records with the fields of a structured line."""

Fields = dict[str, str | int | float | bool]


def configure_logging(
    level: LogLevel, log_format: LogFormat, uvicorn_level: UvicornLogLevel | None = None
) -> None:
    """Log this level and above to stderr, and the access log at any level.

    uvicorn_level: of uvicorn's log; None: as the others, without its lines of level info.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    access_logger.setLevel(logging.INFO)
    if level == "info":
        for name in _VERBOSE_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
    if uvicorn_level is not None:
        uvicorn_logger = logging.getLogger("uvicorn.error")
        uvicorn_logger.setLevel(_TRACE if uvicorn_level == "trace" else uvicorn_level.upper())


class TextFormatter(logging.Formatter):
    """Time, level, logger and message, then the fields of structured lines as ``name=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        fields = _fields_of(record).items()
        shown = [f"{name}={_shown(value)}" for name, value in fields]
        return " ".join([super().formatMessage(record), *shown])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields of structured lines."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | _fields_of(record))


def log_request(record: RequestRecord) -> None:
    """A RequestObserver: one line in the format of uvicorn's access log, and the fields."""
    # The path is percent-encoded, so that it cannot forge a line. Query strings, in which some
    # clients send their key, are left out.
    request = f"{record.method} {quote(record.path)} HTTP/{record.http_version}"
    access_logger.info(
        '%s - "%s" %d', record.client, request, record.status, extra={_FIELDS: _fields(record)}
    )


def _fields(record: RequestRecord) -> Fields:
    """By the names that the gateway's lines have too."""
    fields: Fields = {
        "request_id": record.request_id,
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "total_s": round(record.duration_s, 6),
    }
    generation = record.generation
    return fields if generation is None else fields | _generation_fields(generation)


def _generation_fields(generation: GenerationRecord) -> Fields:
    fields: Fields = {
        "generation_id": generation.request_id,
        "model": generation.model,
        "stream": generation.is_stream,
        "num_choices": generation.num_choices,
        "prompt_tokens": generation.num_prompt_tokens,
        "cached_tokens": generation.num_cached_tokens,
        "completion_tokens": generation.num_output_tokens,
        "finish_reasons": ",".join(generation.finish_reasons),
    }
    times = generation.times
    if times is not None:
        fields["queued_s"] = round(times.scheduled - times.queued, 6)
    if generation.first_token_at is not None:
        fields["ttft_s"] = round(generation.first_token_at - generation.arrived_at, 6)
    return fields


def _utc(seconds: float) -> str:
    written = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return written.replace("+00:00", "Z")


def _fields_of(record: logging.LogRecord) -> Fields:
    fields: Fields = getattr(record, _FIELDS, {})
    return fields


def _shown(value: str | int | float | bool) -> str:
    """In quotes if it is empty or has characters that end a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if text and _PLAIN.fullmatch(text) else json.dumps(text)
