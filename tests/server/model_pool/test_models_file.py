"""--models-file: names, options and errors."""

from pathlib import Path

import pytest

from headrace.core.errors import InvalidInputError
from headrace.engine.config import EngineConfig
from headrace.server.config import ServerConfig
from headrace.server.model_pool.models_file import read_models_file
from headrace.server.model_pool.spec import ModelSpec, check_names, share_memory

ENGINE = EngineConfig(model="default", max_model_len=512)
SERVER = ServerConfig(tool_call_parser="hermes")


def read(tmp_path: Path, text: str) -> list[ModelSpec]:
    file = tmp_path / "models.yaml"
    file.write_text(text)
    return read_models_file(file, ENGINE, SERVER)


def test_a_model_has_its_own_options_and_else_those_of_the_command_line(tmp_path: Path) -> None:
    one, two = read(
        tmp_path,
        """
        models:
        - model: ./one
        - model: ./two
          name: second
          aliases: [gpt-4o, gpt-4o-mini]
          max-model-len: 128
          enable_prefix_caching: false
          tool_call_parser: mistral
        """,
    )
    assert one.names == ("./one",)
    assert (one.engine.model, one.engine.max_model_len) == ("./one", 512)
    assert one.server.tool_call_parser == "hermes"
    assert two.names == ("second", "gpt-4o", "gpt-4o-mini")
    assert (two.engine.model, two.engine.max_model_len) == ("./two", 128)
    assert not two.engine.enable_prefix_caching
    assert two.server.tool_call_parser == "mistral"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "models"),
        ("models: []", "models"),
        ("- model: a", "models"),
        ("{models: [{model: a}], other: 1}", "models"),
        ("models: [a]", "models[0]"),
        ("models: [{model: a}, {name: b}]", "models[1].model"),
        ("models: [{model: a, name: 1}]", "models[0].name"),
        ("models: [{model: a, name: ' b'}]", "models[0].name"),
        ("models: [{model: a, aliases: b}]", "models[0].aliases"),
        ("models: [{model: a, aliases: [a]}]", "models[0].name"),
        ("models: [{model: a, max_model_len: 1}]", "models[0].max_model_len"),
        ("models: [{model: a, max_model_len: long}]", "models[0].max_model_len"),
        ("models: [{model: a, tool_call_parser: nope}]", "models[0].tool_call_parser"),
        ("models: [{model: a, max_loaded_models: 2}]", "models[0].max_loaded_models"),
        ("models: [{model: a, port: 8001}]", "models[0].port"),
        ("models: [{model: a, api_key: [b]}]", "models[0].api_key"),
        ("models: [{1: a}]", "models[0]"),
        ("models: [", "YAML"),
        ("models: [{model: \x01}]", "YAML"),
    ],
)
def test_an_error_names_the_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read(tmp_path, text)
    assert named in str(refused.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"missing\.yaml"):
        read_models_file(tmp_path / "missing.yaml", ENGINE, SERVER)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    specs = read(tmp_path, "models: [{model: a, aliases: [c]}, {model: b, aliases: [c]}]")
    with pytest.raises(InvalidInputError, match=" c"):
        check_names(specs)


def test_memory_is_divided_by_the_models_that_may_be_loaded(tmp_path: Path) -> None:
    specs = read(tmp_path, "models: [{model: a}, {model: b}]")
    for max_loaded, num_models in ((1, 1), (2, 2), (3, 2)):
        shared = share_memory(specs, max_loaded)
        assert [spec.engine.max_loaded_models for spec in shared] == [num_models] * 2
