"""--sampling-defaults and --generation-config."""

import json
from pathlib import Path

import pytest

from headrace.core.errors import InvalidInputError
from headrace.server.config import ServerConfig
from headrace.server.sampling_defaults import read_sampling_defaults


def test_the_models_parameters_are_the_default() -> None:
    assert read_sampling_defaults(ServerConfig()) is None
    assert read_sampling_defaults(ServerConfig(sampling_defaults="none")) == {}
    for sampling_defaults in ("model", "none"):
        options = {"sampling_defaults": sampling_defaults}
        assert read_sampling_defaults(ServerConfig(generation_config="auto", **options)) is None
        assert read_sampling_defaults(ServerConfig(generation_config="vllm", **options)) == {}


def test_a_directory_has_the_parameters(tmp_path: Path) -> None:
    values = {"temperature": 0.5, "top_k": 7, "top_p": 9.0, "eos_token_id": 2}
    (tmp_path / "generation_config.json").write_text(json.dumps(values))
    config = ServerConfig(generation_config=str(tmp_path))
    assert read_sampling_defaults(config) == {"temperature": 0.5, "top_k": 7}


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_directory_without_a_valid_file_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(InvalidInputError, match="--generation-config"):
        read_sampling_defaults(ServerConfig(generation_config=str(tmp_path)))
