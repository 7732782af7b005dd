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


class FailFastModel(BaseModel):
    """A model each of whose lists and maps, however deep in unions, has at most one error.

    Models within it must be FailFastModels too.
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return cast(CoreSchema, _fail_fast(handler(source)))
