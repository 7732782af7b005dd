"""Reads typed values out of a model's description, naming the key when one is missing or wrong."""

from collections.abc import Mapping
from typing import Any

from headrace.core.errors import ModelFileError


class Metadata:
    """A mapping whose values come typed; null counts as missing."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        """where: the file, as an error shall name it."""
        self._values = values
        self.where = where

    def get(self, key: str) -> Any:
        return self._values.get(key)

    def integer(self, key: str, default: int | None = None) -> int:
        """A positive whole number; the default stands for a missing one."""
        value = self._default(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(key, value, "a positive whole number")
        return value

    def optional_integer(self, key: str) -> int | None:
        return None if self.get(key) is None else self.integer(key)

    def number(self, key: str, default: float | None = None) -> float:
        value = self._default(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, value, "a number")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        return None if self.get(key) is None else self.number(key)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers."""
        values = self._default(key, None)
        if not isinstance(values, list) or not all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in values
        ):
            raise self._wrong(key, values, "a list of numbers")
        return tuple(float(value) for value in values)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self._default(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._default(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a text")
        return value

    def mapping(self, key: str) -> "Metadata | None":
        """What lies under the key; None where there is nothing."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self._wrong(key, value, "an object")
        return Metadata(value, f"{self.where}, {key}")

    def _default(self, key: str, default: object) -> object:
        value = self.get(key)
        if value is not None:
            return value
        if default is None:
            raise ModelFileError(f"{self.where} does not say '{key}'. Fetch the model again.")
        return default

    def _wrong(self, key: str, value: object, expected: str) -> ModelFileError:
        return ModelFileError(f"{self.where} says '{key}': {value!r}, which is not {expected}.")


def read_num_kv_heads(config: Metadata, key: str, num_heads: int) -> int:
    """As many as there are heads of queries, if the model does not say."""
    num_kv_heads = config.integer(key, num_heads)
    if num_heads % num_kv_heads:
        raise ModelFileError(
            f"{config.where} says {num_heads} heads of queries, which {num_kv_heads} heads of "
            "keys cannot share evenly."
        )
    return num_kv_heads
