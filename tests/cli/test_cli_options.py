"""Options made from dataclasses."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from headrace.cli.options import NORMALIZE, build, with_options_of
from headrace.core.errors import InvalidInputError
from headrace.core.options import check_options, option
from headrace.engine.config import EngineConfig
from headrace.server.config import ServerConfig


@dataclass(frozen=True, kw_only=True)
class SoupConfig:
    name: str
    kind: Literal["hot", "cold"] = option("hot", "How it is served.")
    num_spoons: int | None = option(None, "How many eat.", ge=1, le=100)
    with_bread: bool = option(True, "Whether there is bread.")
    herb: tuple[str, ...] = option((), "What is in it.", env="SOUP_HERBS")
    secret: tuple[str, ...] = option((), "What else is in it.", env="SOUP_SECRET", secret=True)
    guest: tuple[str, ...] = option((), "Who eats it.", json_list=True)

    def __post_init__(self) -> None:
        check_options(self)


def run(*arguments: str, env: dict[str, str] | None = None) -> SoupConfig:
    made: list[SoupConfig] = []

    @with_options_of(SoupConfig, leave_out=("name",))
    def cook(name: str, **values: Any) -> None:
        made.append(build(SoupConfig, values, name=name))

    app = typer.Typer()
    app.command(context_settings=NORMALIZE)(cook)
    result = CliRunner().invoke(app, ["pea", *arguments], env=env)
    assert result.exit_code == 0, result.output
    return made[0]


def test_defaults_are_the_dataclasss_own() -> None:
    assert run() == SoupConfig(name="pea")


def test_each_field_is_an_option() -> None:
    soup = run(
        *("--kind", "cold", "--num-spoons", "3", "--no-with-bread"),
        *("--herb", "dill", "--herb", "mint"),
    )
    assert soup == SoupConfig(
        name="pea", kind="cold", num_spoons=3, with_bread=False, herb=("dill", "mint")
    )


def test_underscores_are_dashes() -> None:
    assert run("--num_spoons", "3", "--no_with_bread") == run("--num-spoons=3", "--no-with-bread")


def test_several_values_may_come_from_the_environment() -> None:
    assert run(env={"SOUP_HERBS": "dill mint"}).herb == ("dill", "mint")


def test_several_values_may_be_a_json_list() -> None:
    arguments = ("--guest", '["Ann", "Bo, Cy"]', "--guest", "Di")
    assert run(*arguments).guest == ("Ann", "Bo, Cy", "Di")


@pytest.mark.parametrize("value", ['["Ann"', "[1]", "[null]", '[["Ann"]]', '["" ]'])
def test_what_is_no_json_list_of_texts_is_refused(value: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^--guest "):
        build(SoupConfig, {"guest": [value]}, name="pea")


@pytest.mark.parametrize("value", [0, 101])
def test_a_value_outside_its_range_is_refused_as_it_is_typed(value: int) -> None:
    with pytest.raises(InvalidInputError, match=r"^--num-spoons .* 1 .* 100"):
        build(SoupConfig, {"num_spoons": value}, name="pea")


@pytest.mark.parametrize("value", ["", "  "])
def test_a_secret_that_is_set_to_nothing_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOUP_SECRET", value)
    monkeypatch.setenv("SOUP_HERBS", value)
    assert build(SoupConfig, {"herb": [], "secret": ["salt"]}, name="pea").secret == ("salt",)
    with pytest.raises(InvalidInputError, match=r"^SOUP_SECRET "):
        build(SoupConfig, {"herb": [], "secret": []}, name="pea")


@pytest.mark.parametrize("config", [EngineConfig, ServerConfig])
def test_every_option_says_what_it_does(config: type[Any]) -> None:
    for field in fields(config):
        if field.name not in ("model", "max_loaded_models"):  # no options
            assert field.metadata["help"].endswith("."), field.name


def test_no_option_is_declared_twice() -> None:
    engine = {field.name for field in fields(EngineConfig)}
    assert engine.isdisjoint(field.name for field in fields(ServerConfig))
