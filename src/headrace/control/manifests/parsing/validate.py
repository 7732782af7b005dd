"""Validates a document against a model: returns a spec with positions, or raises all problems."""

import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace.control.manifests.parsing.manifest_model import ManifestModel, key_of, notes_on
from headrace.control.manifests.parsing.problems import (
    ManifestError,
    Path,
    Problem,
    unknown_key,
)
from headrace.control.manifests.parsing.yaml_document import Document

SpecT = TypeVar("SpecT", bound=ManifestModel)


@dataclass(frozen=True, slots=True)
class ManifestDocument(Generic[SpecT]):
    """A validated manifest with the positions of its values, for further checks."""

    spec: SpecT
    notes: tuple[str, ...]
    """Sentences about keys without effect."""
    document: Document

    @property
    def file(self) -> str:
        return self.document.file

    def problem(self, path: Path, reason: str) -> Problem:
        """A problem at the position of the value at ``path``."""
        return self.document.problem(path, reason)

    def refuse(self, path: Path, reason: str) -> NoReturn:
        raise ManifestError([self.problem(path, reason)])

    def without(self, faults: Iterable[tuple[Path, str]]) -> "ManifestDocument[SpecT]":
        """Itself. Raises ManifestError if there are any faults."""
        problems = [self.problem(path, reason) for path, reason in faults]
        if problems:
            raise ManifestError(problems)
        return self


def read(
    document: Document, model: type[SpecT], placeholder_reasons: dict[str, str] | None = None
) -> ManifestDocument[SpecT]:
    """Raises ManifestError with every problem. ``placeholder_reasons`` are by key."""
    problems = list(_placeholder_problems(document, placeholder_reasons or {}))
    spec: SpecT | None = None
    try:
        spec = model.model_validate(document.data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems.extend(_problems(document, model, details))
    if spec is None or problems:
        raise ManifestError(problems)
    return ManifestDocument(spec, notes_on(spec), document)


def _placeholder_problems(document: Document, reasons: dict[str, str]) -> Iterator[Problem]:
    for path, name in document.placeholders.items():
        reason = reasons.get(str(path[-1]) if path else "", "put a value in its place")
        yield document.problem(path, f"`{{{name}}}` is a placeholder: {reason}")


def _problems(
    document: Document, model: type[BaseModel], errors: Iterable[ErrorDetails]
) -> Iterator[Problem]:
    seen: set[tuple[str, int, str]] = set()
    for error in errors:
        if error["type"] == "default_factory_not_called":  # depends on an invalid field
            continue
        path = (*error["loc"], *error.get("ctx", {}).get("path", ()))
        path = tuple(step for step in path if step != "[key]")
        if any(path[: len(holder)] == holder for holder in document.placeholders):
            continue
        problem = document.problem(
            path, _reason(error, model, path), at_key=error["type"] == "extra_forbidden"
        )
        if error["loc"] and error["loc"][-1] == "[key]":
            problem = document.problem(path, _reason(error, model, path), at_key=True)
        identity = (problem.path, problem.line, problem.reason)
        if identity not in seen:
            seen.add(identity)
            yield problem


def _reason(error: ErrorDetails, model: type[BaseModel], path: Path) -> str:
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "fault":
        return str(context["reason"])
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return unknown_key(str(path[-1]), _keys_at(model, path[:-1]))
    if kind == "literal_error":
        expected = str(context["expected"]).replace(" or ", ", ").replace("'", "")
        return f"must be one of {expected}"
    if kind in _BOUNDS:
        bound = next(value for key, value in context.items() if key in ("ge", "gt", "le", "lt"))
        return f"must be {_BOUNDS[kind]} {bound:g}"
    message = str(error["msg"])
    return _REASONS.get(kind, f"{message[:1].lower()}{message[1:]}")


_REASONS = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be keys with values",
    "model_type": "must be keys with values",
    "model_attributes_type": "must be keys with values",
}

_BOUNDS = {
    "greater_than": "more than",
    "greater_than_equal": "at least",
    "less_than": "less than",
    "less_than_equal": "at most",
}


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys of the model at a path, starting at ``model``."""
    models = [model]
    for step in path:
        annotations = [
            field.annotation
            for candidate in models
            for name, field in candidate.model_fields.items()
            if key_of(name, field) == step
        ]
        if annotations:  # a key of a mapping, or an index, stays with the models it leads to
            models = [found for annotation in annotations for found in _models_in(annotation)]
    return [
        key_of(name, field)
        for candidate in models
        for name, field in candidate.model_fields.items()
    ]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)
