"""Every number of every ``headrace bench`` command is checked before anything else is done."""

import inspect
import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from headrace.bench.errors import OptionError
from headrace.cli.bench import build_app
from headrace.cli.bench.command import bench_command, check_number
from headrace.cli.bench.options import parse_numbers
from headrace.cli.options import numeric_bounds
from headrace.core.options import Bounds

APP = build_app()
COMMANDS = {each.callback.__name__: each.callback for each in APP.registered_commands}
NEEDED = {
    "compare": ["--target", "a=http://127.0.0.1:1", "--target", "b=http://127.0.0.1:1"],
    "sweep": ["--concurrency", "1"],
}


def out_of_range(kind: type, allowed: Bounds) -> Iterator[str]:
    least = allowed.ge if allowed.gt is None else allowed.gt
    assert least is not None
    assert allowed.le is not None
    if kind is int:
        for value in (least - 1, allowed.le + 1, 10**30, 10**400):
            yield str(int(value))
        if least > 0:
            yield "-1"
        return
    yield from ("nan", "-1", "-inf", "1e300", str(allowed.le * 1.01))
    if not allowed.allows_inf:
        yield "inf"
    if allowed.gt is not None:
        yield str(allowed.gt)
    elif least > 0:
        yield from ("0", "1e-300", str(least / 2))


def kind_of(command: Any, name: str) -> type:
    annotation = get_args(inspect.signature(command).parameters[name].annotation)[0]
    return int if int in {annotation, *get_args(annotation)} else float


BOUNDS = {command: numeric_bounds(function) for command, function in COMMANDS.items()}
CASES = [
    (command, name, value)
    for command, bounds in BOUNDS.items()
    for name, allowed in bounds.items()
    for value in out_of_range(kind_of(COMMANDS[command], name), allowed)
]


def test_all_commands_have_numbers() -> None:
    assert {command for command, _, _ in CASES} == set(COMMANDS) - {"report"}
    assert len(CASES) > 200


@pytest.mark.parametrize("command", [each for each in COMMANDS if each != "report"])
def test_a_number_out_of_its_range_is_refused_by_name(command: str) -> None:
    runner = CliRunner()
    for name, value in [case[1:] for case in CASES if case[0] == command]:
        flag = f"--{name.replace('_', '-')}"
        result = runner.invoke(APP, [command, *NEEDED.get(command, []), f"{flag}={value}"])
        assert result.exit_code == 1, (name, value, result.output)
        assert result.output.startswith(f"Error: {flag} must be "), (name, value)
        assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["sweep", "--concurrency", "1,0"], "--concurrency"),
        (["sweep", "--concurrency", "1,2.5"], "--concurrency"),
        (["sweep", "--concurrency", "nan"], "--concurrency"),
        (["sweep", "--concurrency", "99999999"], "--concurrency"),
        (["sweep", "--request-rates", "1,-2"], "--request-rates"),
        (["sweep", "--request-rates", "inf"], "--request-rates"),
        (["sweep", "--request-rates", "nan"], "--request-rates"),
        (["sweep", "--request-rates", ","], "no load"),
        (["serve", "--goodput", "ttft:nan"], "--goodput"),
        (["serve", "--goodput", "ttft:-1"], "--goodput"),
        (["serve", "--goodput", "ttft:inf"], "--goodput"),
        (["serve", "--extra-body", '{"temperature": NaN}'], "--extra-body"),
        (["serve", "--extra-body", '{"stop": "\\ud800"}'], "--extra-body"),
        (["serve", "--extra-body", "[" * 100_000], "--extra-body"),
    ],
)
def test_numbers_within_other_words_too(arguments: list[str], flag: str) -> None:
    result = CliRunner().invoke(APP, [*arguments, "--base-url", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert flag in result.output


def test_the_ends_of_a_range_belong_to_it() -> None:
    for allowed in [allowed for bounds in BOUNDS.values() for allowed in bounds.values()]:
        for value in (allowed.ge, allowed.le):
            if value is not None:
                check_number("--number", value, allowed)
        if allowed.allows_inf:
            check_number("--number", math.inf, allowed)
    rates = BOUNDS["serve"]["request_rate"]
    assert parse_numbers("--request-rates", "1, 2.5,4", rates) == [1, 2.5, 4]
    with pytest.raises(OptionError, match=r"--seed must be at least 0 and .*, got -1"):
        check_number("--seed", -1, BOUNDS["serve"]["seed"])


def test_a_command_with_a_number_without_a_range_is_not_made() -> None:
    def command(unheard_of: Annotated[int | None, typer.Option()] = 3) -> None:
        """No range is declared for it."""

    with pytest.raises(TypeError, match="unheard_of"):
        bench_command(command)

    def bounded(unheard_of: Annotated[int | None, typer.Option(), Bounds(ge=1)] = 3) -> None:
        """Its range is in the annotation."""

    bench_command(bounded)
