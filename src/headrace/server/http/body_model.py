"""The base of the bodies' models: validation stops at the first wrong element of a list or a map.

pydantic's default is to collect every error, which takes seconds and gigabytes for a large list of
wrong elements. Knows no field of any body.
"""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema

_COLLECTIONS = frozenset({"list", "tuple", "set", "frozenset", "dict", "typed-dict"})
_NO_SCHEMAS = frozenset({"metadata", "serialization", "default", "expected"})
"""Keys of a core schema whose values are no schemas."""

MAX_DEPTH = 16
MAX_VALUES = 10_000
MAX_KEY_LENGTH = 256
"""Characters."""


def _fail_fast(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        changed = {
            name: part if name in _NO_SCHEMAS else _fail_fast(part) for name, part in schema.items()
        }
        kind = schema.get("type")  # no text in a map of fields, one of which is called type
        if isinstance(kind, str) and kind in _COLLECTIONS:
            changed["fail_fast"] = True
        return changed
    if isinstance(schema, list | tuple):
        return type(schema)(map(_fail_fast, schema))
    return schema


class BodyModel(BaseModel):
    """A model each of whose lists and maps, however deep in unions, has at most one error.

    Models within it must be FailFastModels too.
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return cast(CoreSchema, _fail_fast(handler(source)))


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
