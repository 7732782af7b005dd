"""Command-line options made from config dataclasses, so that each option is declared once.

Knows dataclass fields and their metadata (help, env, flags, metavar); not what any option does.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

Config = TypeVar("Config")

NORMALIZE = {"token_normalize_func": lambda token: token.replace("_", "-")}
"""Context settings with which --max_model_len is --max-model-len, as vLLM's users may write it."""


def with_options_of(
    *configs: type[Any], leave_out: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of these dataclasses, except some.

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


def build(config: type[Config], values: Mapping[str, Any], **more: Any) -> Config:
    """The config made of those values that are its fields."""
    names = {field.name for field in fields(config)}  # type: ignore[arg-type]
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name in names
    }
    return config(**given, **more)


def _parameter(field: Field[Any], hint: Any, panel: str) -> inspect.Parameter:
    flag = "--" + field.name.replace("_", "-")
    if hint is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    option = typer.Option(
        *field.metadata.get("flags", (flag,)),
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
        annotation=Annotated[_option_type(hint), option],
    )


def _default(field: Field[Any]) -> Any:
    if field.default is MISSING:
        return ...
    return list(field.default) if isinstance(field.default, tuple) else field.default


def _option_type(hint: Any) -> Any:
    """A tuple of any length is an option that may be given several times."""
    if get_origin(hint) is tuple:
        return list[get_args(hint)[0]]  # type: ignore[misc]
    return hint
