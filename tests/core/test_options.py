"""Options outside their range are refused by name, before anything is loaded."""

import math
from dataclasses import Field, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from headrace.core.errors import InvalidParameterError
from headrace.core.options import bounds_of, check_options, option
from headrace.engine.config import EngineConfig
from headrace.engine.llm import LLM
from headrace.server.config import ServerConfig

CONFIGS = (EngineConfig, ServerConfig)
REQUIRED: dict[type[Any], dict[str, Any]] = {EngineConfig: {"model": "m"}, ServerConfig: {}}


def options_of(*kinds: Any) -> list[Any]:
    """Every option of a server that has one of these types."""
    return [
        pytest.param(config, field, id=f"{config.__name__}.{field.name}")
        for config in CONFIGS
        for field in fields(config)
        if set(kinds) & set(members(config, field))
    ]


def members(config: type[Any], field: Field[Any]) -> tuple[Any, ...]:
    hint = get_type_hints(config)[field.name]
    if get_origin(hint) is tuple:
        return (tuple,)
    if get_origin(hint) is Literal:
        return (Literal,)
    return tuple(
        Literal if get_origin(member) is Literal else member for member in get_args(hint) or (hint,)
    )


def refuse(config: type[Any], field: Field[Any], value: Any) -> str:
    """The error, which must name the option."""
    with pytest.raises(InvalidParameterError) as refused:
        config(**{**REQUIRED[config], field.name: value})
    assert refused.value.param == field.name
    return str(refused.value)


def test_the_defaults_are_accepted() -> None:
    EngineConfig(model="m")
    ServerConfig()


@pytest.mark.parametrize(("config", "field"), options_of(int, float))
def test_numbers_outside_their_range_are_refused(config: type[Any], field: Field[Any]) -> None:
    bounds = bounds_of(field)
    assert bounds.ge is not None or bounds.gt is not None
    assert bounds.le is not None
    is_int = int in members(config, field)
    below = bounds.gt if bounds.ge is None else bounds.ge - 1
    for outside in (below, bounds.le + 1, -(10**30), 10**30):
        refuse(config, field, int(outside) if is_int else float(outside))
    for inside in (bounds.le, bounds.ge):
        if inside is not None:
            config(**{**REQUIRED[config], field.name: inside})
    for no_number in (math.nan, math.inf, -math.inf, "1", True, [1]):
        refuse(config, field, no_number)
    if is_int:
        refuse(config, field, 1.5)


@pytest.mark.parametrize(("config", "field"), options_of(str))
def test_blank_texts_are_refused(config: type[Any], field: Field[Any]) -> None:
    for value in ("", "  ", 1, b"text"):
        refuse(config, field, value)


@pytest.mark.parametrize(("config", "field"), options_of(tuple))
def test_blank_texts_in_lists_are_refused(config: type[Any], field: Field[Any]) -> None:
    for value in (("",), (" ",), (1,), "text"):
        refuse(config, field, value)


@pytest.mark.parametrize(("config", "field"), options_of(Literal))
def test_unknown_choices_are_refused(config: type[Any], field: Field[Any]) -> None:
    refuse(config, field, "something else")


@pytest.mark.parametrize(("config", "field"), options_of(bool))
def test_switches_must_be_booleans(config: type[Any], field: Field[Any]) -> None:
    refuse(config, field, 1)


def test_every_option_is_covered_by_these_tests() -> None:
    kinds = {
        kind for config in CONFIGS for field in fields(config) for kind in members(config, field)
    }
    assert kinds <= {int, float, str, bool, tuple, Literal, Path, NoneType}


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (EngineConfig, "kv_cache_memory", "much"),
        (EngineConfig, "kv_cache_memory", "0"),
        (ServerConfig, "served_model_name", ("a", "b", "a")),
        (ServerConfig, "served_model_name", ("a\n",)),
        (ServerConfig, "served_model_name", (" a",)),
        (ServerConfig, "allowed_hosts", ("example.com:80",)),
        (ServerConfig, "allowed_hosts", ("http://example.com",)),
        (ServerConfig, "allowed_origins", ("example.com",)),
        (ServerConfig, "allowed_origins", ("http://example.com/page",)),
    ],
)
def test_options_with_specific_rules(config: type[Any], name: str, value: Any) -> None:
    refuse(config, {field.name: field for field in fields(config)}[name], value)


@pytest.mark.parametrize("key", ["two words", "k3y\t", "k3y\n", "schlüssel", "\x7f"])
def test_an_invalid_key_is_refused_and_not_disclosed(key: str) -> None:
    [field] = [field for field in fields(ServerConfig) if field.name == "api_key"]
    assert key.strip() not in refuse(ServerConfig, field, ("good", key))
    assert "good" not in repr(ServerConfig(api_key=("good",)))
    assert "secret" not in refuse(ServerConfig, field, "secret")


def test_llm_validates_options_before_it_resolves_the_model() -> None:
    with pytest.raises(InvalidParameterError) as refused:
        LLM("./no/such/model", max_model_len=1)
    assert refused.value.param == "max_model_len"


def test_bounds_are_readable() -> None:
    @dataclass(frozen=True)
    class Config:
        share: float = option(0.5, "A share.", gt=0.0, le=1.0)

        def __post_init__(self) -> None:
            check_options(self)

    with pytest.raises(InvalidParameterError) as refused:
        Config(share=2.0)
    assert refused.value.param == "share"
    assert str(refused.value).startswith("share: must be more than 0.0 and at most 1")
