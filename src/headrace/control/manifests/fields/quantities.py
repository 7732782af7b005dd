"""Types for durations, sizes and whole numbers in manifests."""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)\s*")

_MAX_SECONDS = 36_500 * 86_400.0
_MAX_BYTES = 2.0**63

_WHOLE = re.compile(r"-?[0-9]{1,18}\Z")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?)?B?\Z")
_SIZE_UNITS: dict[str | None, int] = {
    None: 1,
    **{letter: 1000**power for power, letter in enumerate("KMGT", start=1)},
    **{f"{letter}i": 1024**power for power, letter in enumerate("KMGT", start=1)},
}


def parse_duration(value: Any) -> float:
    """Seconds, from a number of seconds, or from ``90s``, ``1h30m``, ``500ms`` or ``2d``."""
    if isinstance(value, str):
        text = value.strip().lower()
        value = float(text) if _is_number(text) else _seconds_of_parts(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(_DURATION_WANTED)
    if value < 0:
        raise ValueError("must not be negative")
    if value > _MAX_SECONDS:
        raise ValueError("must be at most 36500d, which is 100 years")
    return float(value)


def parse_size(value: Any) -> int:
    """Bytes, from a number of bytes, or from ``32MiB``, ``16Gi`` or ``500M``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(_SIZE_WANTED)
    match = _SIZE.match(str(value).strip())
    if match is None:
        raise ValueError(_SIZE_WANTED)
    number, unit = match.groups()
    num_bytes = float(number) * _SIZE_UNITS[unit]
    if num_bytes >= _MAX_BYTES:
        raise ValueError("must be less than 8 EiB")
    return int(num_bytes)


def parse_whole(value: Any) -> Any:
    """Refuses ``true`` and ``50.0``, which pydantic would accept as integers."""
    if isinstance(value, bool | float):
        raise ValueError("must be a whole number")
    if isinstance(value, str):
        if _WHOLE.match(value.strip()) is None:
            raise ValueError("must be a whole number")
        return int(value)
    return value


_DURATION_WANTED = "must be a duration, such as 30 (seconds), 90s, 10m or 1h30m"
_SIZE_WANTED = "must be a size, such as 500M, 32MiB or 16Gi"

Seconds = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=float | str)]
Bytes = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str)]
PositiveSeconds = Annotated[Seconds, Field(gt=0)]
PositiveBytes = Annotated[Bytes, Field(gt=0)]
Whole = Annotated[int, BeforeValidator(parse_whole, json_schema_input_type=int | str)]


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdigit()


def _seconds_of_parts(text: str) -> float:
    total = 0.0
    end = 0
    for part in _DURATION_PART.finditer(text):
        if part.start() != end:
            break
        total += float(part.group(1)) * _DURATION_UNITS[part.group(2)]
        end = part.end()
    if end == 0 or end != len(text):
        raise ValueError(_DURATION_WANTED)
    return total
