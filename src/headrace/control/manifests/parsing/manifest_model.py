"""The base of all models of manifests: frozen, without unknown keys.

A model is stored with the keys of the file, and reads both the file's shapes and its own dump.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from headrace.control.errors import UnreadableSpecError
from headrace.control.manifests.parsing.problems import Path, show_path

_MAX_NUM_PLACES = 5


class ManifestModel(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        serialize_by_alias=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # values may be secrets
    )


ModelT = TypeVar("ModelT", bound=ManifestModel)


@dataclass(frozen=True, slots=True)
class NoEffect:
    """Marks a field that is accepted for compatibility and ignored."""

    why: str


def fault(reason: str, *path: str | int) -> PydanticCustomError:
    """An error of a validator over several fields, at a path below its model."""
    return PydanticCustomError("fault", "{reason}", {"reason": reason, "path": list(path)})


def read_stored(model: type[ModelT], stored: Mapping[str, Any]) -> ModelT:
    """Parse a spec from the store. Raises UnreadableSpecError if this version cannot read it."""
    try:
        return model.model_validate(stored)
    except ValidationError as error:
        places = [show_path(one["loc"]) for one in error.errors(include_input=False)]
        where = ", ".join(place for place in places[:_MAX_NUM_PLACES] if place)
        raise UnreadableSpecError(
            f"This version of Headrace cannot read it{': ' if where else ''}{where}."
        ) from None


def notes_on(model: ManifestModel, path: Path = ()) -> tuple[str, ...]:
    """Sentences about keys without effect."""
    notes: list[str] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value is None or value in ((), {}) or value == field.default:
            continue
        here = (*path, key_of(name, field))
        why = _why_no_effect(field)
        if why is not None:
            notes.append(f"{show_path(here)} has no effect here: {why}.")
        else:
            notes.extend(note for inner in _inner(value, here) for note in notes_on(*inner))
    return tuple(notes)


def key_of(field_name: str, field: FieldInfo) -> str:
    """The key in the file."""
    return field.alias or field_name


def _why_no_effect(field: FieldInfo) -> str | None:
    return next((mark.why for mark in field.metadata if isinstance(mark, NoEffect)), None)


def _inner(value: Any, path: Path) -> Iterable[tuple[ManifestModel, Path]]:
    if isinstance(value, ManifestModel):
        yield value, path
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _inner(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _inner(item, (*path, key))
