"""Command-line options generated from config dataclasses, so that each is declared once.

A field's metadata has: help, env, flags, metavar, json_list. Ranges are declared with the options
(``core.options.Bounds``).
"""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from itertools import chain
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from headrace.core.errors import InvalidInputError, InvalidParameterError
from headrace.core.options import Bounds, bounds_of

Config = TypeVar("Config")

DEFAULT_MODEL = "smollm2-135m"

NORMALIZE = {"token_normalize_func": lambda token: token.replace("_", "-")}
"""Context settings that accept --max_model_len for --max-model-len, as vLLM does."""


def with_options_of(
    *configs: type[Any], leave_out: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option to a command for each field of the dataclasses, except ``leave_out``.

    The command takes its own parameters, and the options' values as ``**values``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = [
            parameter
            for parameter in inspect.signature(command).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        for config in configs:
            hints = get_type_hints(config)
            parameters += [
                _parameter(field, hints[field.name], config.__name__)
                for field in fields(config)
                if field.name not in leave_out
            ]
        signature = inspect.Signature(parameters)
        setattr(command, "__signature__", signature)  # noqa: B010  (typer reads both)
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def numeric_bounds(command: Callable[..., None]) -> dict[str, Bounds]:
    """The range of each numeric option of a command, by parameter.

    An option that is no field of a config has it in its annotation: ``Annotated[int,
    typer.Option(...), Bounds(ge=1)]``. Raises TypeError for a number without a range.
    """
    bounds: dict[str, Bounds] = {}
    for parameter in inspect.signature(command).parameters.values():
        if not _is_number(parameter.annotation):
            continue
        declared = [each for each in get_args(parameter.annotation) if isinstance(each, Bounds)]
        if not declared or declared[0] == Bounds():
            raise TypeError(f"{command.__name__}: the option {parameter.name} has no range.")
        bounds[parameter.name] = declared[0]
    return bounds


def _is_number(annotation: Any) -> bool:
    """Whether it is ``int``, ``float | None``, ``Annotated[int, ...]`` or the like."""
    return annotation in (int, float) or any(map(_is_number, get_args(annotation)))


def build(config: type[Config], values: Mapping[str, Any], **more: Any) -> Config:
    """The config with those of the values that are its fields.

    Raises InvalidInputError with the option's name for an invalid value.
    """
    by_name = {field.name: field for field in fields(config)}  # type: ignore[arg-type]
    given = {
        name: _read_value(by_name[name], value) for name, value in values.items() if name in by_name
    }
    try:
        return config(**given, **more)
    except InvalidParameterError as error:
        field = by_name.get(error.param)
        if field is None or error.param in more:
            raise
        rule = str(error).removeprefix(f"{error.param}: ")
        raise InvalidInputError(f"{_flags(field)[0].partition('/')[0]} {rule}.") from None


def _read_value(field: Field[Any], value: Any) -> Any:
    """A repeatable option's values as a tuple. With ``json_list``, a value may also be a JSON list
    of strings, as in vLLM.

    An empty environment variable of a secret is an error: usually the secret is missing, and
    ignoring it would disable the protection.
    """
    if not isinstance(value, list):
        return value
    env = field.metadata.get("env")
    if not value and field.metadata.get("secret") and env in os.environ:
        raise InvalidInputError(
            f"{env} is set but empty. Unset it to run without {_flags(field)[0]}."
        )
    if not field.metadata.get("json_list"):
        return tuple(value)
    return tuple(chain.from_iterable(_read_list(field, each) for each in value))


def _read_list(field: Field[Any], value: str) -> list[str]:
    if not value.lstrip().startswith("["):
        return [value]
    try:
        items = json.loads(value)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{_flags(field)[0]} is not a JSON list: {error}.") from None
    if not all(isinstance(item, str) for item in items):
        raise InvalidInputError(f"{_flags(field)[0]} must be a JSON list of strings.")
    return list(items)


def _flags(field: Field[Any], hint: Any = None) -> tuple[str, ...]:
    """The option's flags."""
    flag = "--" + field.name.replace("_", "-")
    if hint is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    flags: tuple[str, ...] = field.metadata.get("flags", (flag,))
    return flags


def _parameter(field: Field[Any], hint: Any, panel: str) -> inspect.Parameter:
    option = typer.Option(
        *_flags(field, hint),
        help=field.metadata.get("help"),
        metavar=field.metadata.get("metavar"),
        envvar=field.metadata.get("env"),
        rich_help_panel=panel.removesuffix("Config"),
        show_default=field.default not in (None, ()),
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=_default(field),
        annotation=Annotated[_option_type(hint), option, bounds_of(field)],
    )


def _default(field: Field[Any]) -> Any:
    if field.default is MISSING:
        return ...
    return list(field.default) if isinstance(field.default, tuple) else field.default


def _option_type(hint: Any) -> Any:
    """A tuple field is a repeatable option."""
    if get_origin(hint) is tuple:
        return list[get_args(hint)[0]]  # type: ignore[misc]
    return hint
