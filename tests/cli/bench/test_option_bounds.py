"""Every number of every ``headrace bench`` command is checked before anything else is done."""

import inspect
import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from headrace.bench.errors import OptionError
from headrace.cli.bench import app
from headrace.cli.bench.command import bench_command
from headrace.cli.bench.offline import ENGINE_OPTIONS
from headrace.cli.bench.options import parse_numbers
from headrace.cli.bench.ranges import RANGES

COMMANDS = {each.callback.__name__: each.callback for each in app.registered_commands}
NEEDED = {
    "compare": ["--target", "a=http://127.0.0.1:1", "--target", "b=http://127.0.0.1:1"],
    "sweep": ["--concurrency", "1"],
}


def numbers_of(command: Any) -> Iterator[tuple[str, type]]:
    for parameter in inspect.signature(command).parameters.values():
        annotation = parameter.annotation
        kinds = {annotation, *get_args(annotation)}
        kinds |= {part for kind in tuple(kinds) for part in get_args(kind)}
        for kind in (int, float):
            if kind in kinds and parameter.name not in ENGINE_OPTIONS:
                yield parameter.name, kind


def out_of_range(name: str, kind: type) -> Iterator[str]:
    allowed = RANGES[name]
    if kind is int:
        for value in (allowed.least - 1, allowed.most + 1, -1, 10**30, 10**400):
            yield str(int(value))
        return
    yield from ("nan", "-1", "-inf", "1e300", str(allowed.most * 1.01))
    if not allowed.takes_infinity:
        yield "inf"
    if allowed.least > 0:
        yield from ("0", "1e-300", str(allowed.least / 2))


CASES = [
    (command, name, value)
    for command, function in COMMANDS.items()
    for name, kind in numbers_of(function)
    for value in out_of_range(name, kind)
]


def test_all_commands_have_numbers() -> None:
    assert {command for command, _, _ in CASES} == set(COMMANDS) - {"report"}
    assert len(CASES) > 200


@pytest.mark.parametrize("command", [each for each in COMMANDS if each != "report"])
def test_a_number_out_of_its_range_is_refused_by_name(command: str) -> None:
    runner = CliRunner()
    for name, value in [case[1:] for case in CASES if case[0] == command]:
        flag = f"--{name.replace('_', '-')}"
        result = runner.invoke(app, [command, *NEEDED.get(command, []), f"{flag}={value}"])
        assert result.exit_code == 1, (name, value, result.output)
        assert result.output.startswith(f"Error: {flag} must be from "), (name, value)
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
    result = CliRunner().invoke(app, [*arguments, "--base-url", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert flag in result.output


def test_the_ends_of_a_range_belong_to_it() -> None:
    for name, allowed in RANGES.items():
        for value in (allowed.least, allowed.most):
            allowed.check(name, value)
        if allowed.takes_infinity:
            allowed.check(name, math.inf)
    assert parse_numbers("--request-rates", "1, 2.5,4", RANGES["request_rate"]) == [1, 2.5, 4]
    with pytest.raises(OptionError, match=r"--seed must be from 0 to .*, got -1"):
        RANGES["seed"].check("--seed", -1)


def test_a_command_with_a_number_without_a_range_is_not_made() -> None:
    def command(unheard_of: Annotated[int | None, typer.Option()] = 3) -> None:
        """No range is known for it."""

    with pytest.raises(TypeError, match="unheard_of"):
        bench_command()(command)
    bench_command(unchecked=["unheard_of"])(command)
