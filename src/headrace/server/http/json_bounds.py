"""Bounds on free JSON values of a request: their depth, their number, and their integers.

Knows no fields; a value's texts are bounded by the body's size.
"""

from typing import Any

MAX_DEPTH = 16
MAX_VALUES = 10_000
MAX_KEY_LENGTH = 256
"""Characters."""


def check_json_bounds(value: Any) -> None:
    """Raises ValueError, saying which bound the value is out of."""
    num_values = 0
    level = [value]
    for _ in range(MAX_DEPTH):
        num_values += len(level)
        if num_values > MAX_VALUES:
            raise ValueError(f"must hold at most {MAX_VALUES} values")
        inner: list[Any] = []
        for each in level:
            inner += _inner_values(each)
        level = inner
    if level:
        raise ValueError(f"must be nested at most {MAX_DEPTH} deep")


def _inner_values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        if any(len(key) > MAX_KEY_LENGTH for key in value):
            raise ValueError(f"keys must have at most {MAX_KEY_LENGTH} characters")
        return list(value.values())
    if isinstance(value, list):
        return value
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("integers must fit into 64 bits")
    return []
