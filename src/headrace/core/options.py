"""Options as fields of config dataclasses: help text and accepted values, declared together.

The same checks apply to the command line (parsed by cli.options) and to Python callers.
"""

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from math import inf
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from headrace.core.errors import InvalidParameterError


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of a number; None means no bound."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    allows_inf: bool = False
    """Whether infinity is accepted beyond ``le``."""

    def accept(self, value: float) -> bool:
        """False for NaN too."""
        if self.allows_inf and value == inf:
            return True
        return (
            value == value
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
        )

    def violation(self, value: float) -> str | None:
        """What is wrong with the value, such as ``must be at least 1, got 0``; None if nothing."""
        return None if self.accept(value) else f"must be {self}, got {_shown(value)}"

    def __str__(self) -> str:
        low = f"at least {self.ge:,}" if self.ge is not None else ""
        if self.gt is not None:
            low = f"more than {self.gt:,}"
        high = f"at most {self.le:,}" if self.le is not None else ""
        return " and ".join(filter(None, (low, high))) + (", or inf" if self.allows_inf else "")


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    allows_inf: bool = False,
    check: Callable[[str, Any], None] | None = None,
    secret: bool = False,
    **metadata: Any,
) -> Any:
    """A dataclass field with its help text, from which the CLI makes its option.

    ge, gt, le: the range of a number, or of each number of a tuple; ``allows_inf`` adds infinity.
    check: called with the field's name and a value that has the right type and is in its range;
    raises InvalidParameterError. For a tuple, it is called with the whole tuple.
    secret: neither errors nor the config's repr show the value.
    """
    bounds = Bounds(ge, gt, le, allows_inf)
    metadata |= {"help": help, "bounds": bounds, "check": check, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


def check_options(config: Any) -> None:
    """Raises InvalidParameterError for the first field whose value is not accepted.

    Types must be right (Python callers are not checked by a command line), numbers in their range,
    texts not blank. None is accepted where the type allows it. For ``__post_init__``.
    """
    hints = get_type_hints(type(config))
    for item in fields(config):
        _check(item, hints[item.name], getattr(config, item.name))


def bounds_of(item: Field[Any]) -> Bounds:
    """The declared range of this field."""
    bounds: Bounds = item.metadata.get("bounds", Bounds())
    return bounds


def _check(item: Field[Any], hint: Any, value: Any) -> None:
    kinds = _members(hint)
    if value is None and NoneType in kinds:
        return
    _check_value(item, [kind for kind in kinds if kind is not NoneType], value)
    check = item.metadata.get("check")
    if check is not None:
        check(item.name, value)


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    if get_origin(hint) is Literal or isinstance(hint, type):
        return (hint,)
    return (hint,) if get_origin(hint) is tuple else get_args(hint)


def _check_value(item: Field[Any], kinds: list[Any], value: Any) -> None:
    [kind, *_] = kinds
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            raise _wrong(item, "must be a tuple", value)
        for each in value:
            _check_value(item, [get_args(kind)[0]], each)
    elif get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise _wrong(item, f"must be one of {', '.join(map(repr, get_args(kind)))}", value)
    elif not any(_is_a(value, each) for each in kinds):
        names = " or ".join(_NAMES.get(each, each.__name__) for each in kinds)
        raise _wrong(item, f"must be {names}", value)
    elif isinstance(value, str):
        if not value.strip():
            raise InvalidParameterError(item.name, "must not be empty")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        violation = bounds_of(item).violation(value)
        if violation is not None:
            raise InvalidParameterError(item.name, violation)


_NAMES: Mapping[type, str] = {
    int: "an integer",
    float: "a number",
    str: "a text",
    bool: "True or False",
}


def _is_a(value: Any, kind: type) -> bool:
    if kind is not bool and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _shown(value: float) -> str:
    digits = str(value)
    return digits if len(digits) < 40 else f"a number of {len(digits)} digits"


def _wrong(item: Field[Any], rule: str, value: Any) -> InvalidParameterError:
    got = "" if item.metadata.get("secret") else f", got {value!r}"
    return InvalidParameterError(item.name, rule + got)
