"""What each number on the command line of ``headrace bench`` may be.

Every numeric option of every command stands here, or the command is not made: none is sent to a
server, or handed on, unchecked.
"""

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from headrace.bench.errors import OptionError


@dataclass(frozen=True, slots=True)
class Range:
    """From ``least`` to ``most``, both of them included."""

    least: float
    most: float
    takes_infinity: bool = False
    """Whether ``inf`` is good too."""

    def check(self, flag: str, value: float) -> None:
        """Raises OptionError, with the option's name. NaN is in no range."""
        if self.least <= value <= self.most or (self.takes_infinity and value == math.inf):
            return
        or_infinite = ", or inf" if self.takes_infinity else ""
        raise OptionError(
            f"{flag} must be from {_shown(self.least)} to {_shown(self.most)}{or_infinite}, "
            f"got {_shown(value)}."
        )


_COUNT = Range(1, 10_000_000)
_TOKENS = Range(1, 10_000_000)
"""Longer than any model's context: what is above it is a mistake, and would fill the memory."""
_AT_ONCE = Range(1, 65_535)
"""One connection each, and as many ports as a machine has."""
_REPEATS = Range(1, 1_000_000)

RANGES: Mapping[str, Range] = {
    # the server
    "timeout_s": Range(0.001, 1_000_000),
    "num_warm_ups": Range(0, 1_000_000),
    "pid": Range(1, 2**31 - 1),
    # what is sent
    "num_prompts": _COUNT,
    "num_requests": _COUNT,
    "input_len": _TOKENS,
    "output_len": _TOKENS,
    "max_tokens": _TOKENS,
    "max_input_len": _TOKENS,
    "max_output_len": _TOKENS,
    "prefix_len": Range(0, _TOKENS.most),
    "num_prefixes": Range(1, 1_000_000),
    "range_ratio": Range(0, 0.999),
    "vocab_size": Range(1, 2**31 - 1),
    "seed": Range(0, 2**62),
    "temperature": Range(0, 100),
    # when
    "concurrency": _AT_ONCE,
    "parallel": _AT_ONCE,
    "request_rate": Range(0.000_001, 1_000_000, takes_infinity=True),
    "burstiness": Range(0.001, 1_000_000, takes_infinity=True),
    "time_scale": Range(0, 1_000_000),
    # how often
    "rounds": _REPEATS,
    "repeat": _REPEATS,
    "num_iters": _REPEATS,
    "num_warm_up_iters": Range(0, 1_000_000),
    "batch_size": Range(1, 1_000_000),
    # bench prepare
    "max_prompt_len": Range(200, 10_000_000),
}
"""By the name of the option's parameter; one name means the same in all commands."""


def numeric_options(command: Callable[..., None], unchecked: Collection[str] = ()) -> list[str]:
    """The command's numeric options. Raises TypeError where one of them has no range and is not
    among the ``unchecked``, which are checked by what they are handed to."""
    parameters = inspect.signature(command).parameters.values()
    names = [each.name for each in parameters if _is_number(each.annotation)]
    missing = [name for name in names if name not in RANGES and name not in unchecked]
    if missing:
        raise TypeError(f"{command.__name__}: give {', '.join(missing)} a range in RANGES.")
    return [name for name in names if name in RANGES]


def check_numbers(names: Collection[str], values: Mapping[str, Any]) -> None:
    """Raises OptionError for the first value outside its range; None is no value."""
    for name in names:
        if (value := values.get(name)) is not None:
            RANGES[name].check(f"--{name.replace('_', '-')}", value)


def _is_number(annotation: Any) -> bool:
    """Of ``int``, ``float | None``, ``Annotated[int, ...]`` and the like."""
    if annotation in (int, float):
        return True
    return any(_is_number(part) for part in get_args(annotation))


def _shown(number: float) -> str:
    if isinstance(number, float):
        return f"{number:g}"
    digits = str(number)
    return f"{number:,}" if len(digits) < 20 else f"a number of {len(digits)} digits"
