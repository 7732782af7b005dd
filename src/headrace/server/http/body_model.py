"""The base class of request bodies: validation whose cost is bounded.

Validation stops at the first invalid element of each list or object. pydantic's default is to
collect every error, which takes seconds and gigabytes for a large list of invalid elements.
"""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema

_COLLECTIONS = frozenset({"list", "tuple", "set", "frozenset", "dict", "typed-dict"})
_NO_SCHEMAS = frozenset({"metadata", "serialization", "default", "expected"})
"""Keys of a core schema whose values are not schemas."""

MAX_DEPTH = 16
MAX_VALUES = 10_000
MAX_KEY_LENGTH = 256
"""Characters."""


def _fail_fast(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        changed = {
            name: part if name in _NO_SCHEMAS else _fail_fast(part) for name, part in schema.items()
        }
        kind = schema.get("type")  # a dict, in a mapping of fields of which one is named "type"
        if isinstance(kind, str) and kind in _COLLECTIONS:
            changed["fail_fast"] = True
        return changed
    if isinstance(schema, list | tuple):
        return type(schema)(map(_fail_fast, schema))
    return schema


class BodyModel(BaseModel):
    """A model that reports at most one error for each list or object, unions included.

    Nested models must be BodyModels too.
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return cast(CoreSchema, _fail_fast(handler(source)))


MAX_UNKNOWN_FIELDS = 8
"""Of a closed model: each is an error."""


class ClosedBodyModel(BodyModel):
    """A model that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _check_number_of_fields(cls, values: Any) -> Any:
        limit = len(cls.model_fields) + MAX_UNKNOWN_FIELDS
        if isinstance(values, dict) and len(values) > limit:
            raise ValueError(f"must have at most {limit} fields")
        return values


def check_json_bounds(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Raises ValueError if the JSON value is too deep, has too many values, too long keys or
    integers beyond 64 bits. Strings are bounded by the body's size."""
    num_values = 0
    level = [value]
    for _ in range(max_depth):
        num_values += len(level)
        if num_values > MAX_VALUES:
            raise ValueError(f"must have at most {MAX_VALUES} values")
        inner: list[Any] = []
        for each in level:
            inner += _inner_values(each)
        level = inner
    if level:
        raise ValueError(f"must be nested at most {max_depth} levels deep")


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
