"""A command line of vLLM's works, or the error says what to do instead."""

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from headrace.cli.main import build_app
from headrace.cli.serving.vllm_options import SEVERAL, VLLM_OPTIONS, translate
from headrace.core.errors import InvalidInputError

FLAGS = {
    "--model": False,
    "--served-model-name": False,
    "--api-key": False,
    "--lora-modules": False,
    "--port": False,
    "--access-log": True,
}
NAMES = sorted(VLLM_OPTIONS)


def translated(text: str) -> str:
    return " ".join(translate(text.split(), FLAGS))


@pytest.mark.parametrize("name", NAMES)
def test_any_other_value_is_an_error_that_names_the_option(name: str) -> None:
    option = VLLM_OPTIONS[name]
    given = [name, "other"] if option.takes_value else [name]
    if option.accepts_any:
        assert list(translate(["m", *given], FLAGS)) == ["m"]
        return
    assert option.instead.endswith(".")
    with pytest.raises(InvalidInputError) as refused:
        list(translate(["m", *given], FLAGS))
    assert str(refused.value).startswith(f"{name} ")
    for value in option.accepted:
        assert list(translate([f"{name}={value}", "m"], FLAGS)) == ["m"]
        assert list(translate([name, value, "m"], FLAGS)) == ["m"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("m --tensor_parallel_size 1 --port 1", "m --port 1"),
        ("m --port=1 --access-log", "m --port=1 --access-log"),
        (
            "m --served-model-name a b c --port 1",
            "m --served-model-name a --served-model-name b --served-model-name c --port 1",
        ),
        ("m --served_model_name a b", "m --served_model_name a --served-model-name b"),
        ("m n --port 1 o", "m n --port 1 o"),
        ("m n --api-key a b", "m n --api-key a --api-key b"),
        ("m --lora-modules a=x b=y", "m --lora-modules a=x --lora-modules b=y"),
        ("--model m --api-key a b", "--model m --api-key a --api-key b"),
        ("--served-model-name a m", "--served-model-name a m"),
        ("--access-log m --max-log-len 9", "--access-log m"),
        ("m -- --tensor-parallel-size 2", "m -- --tensor-parallel-size 2"),
        ("m --port", "m --port"),
        ("m --unknown 1", "m --unknown 1"),
    ],
)
def test_arguments_are_translated(given: str, expected: str) -> None:
    assert translated(given) == expected


def test_an_option_that_the_command_has_is_its_own() -> None:
    assert list(translate(["-tp", "2"], {"-tp": False})) == ["-tp", "2"]


def test_the_command_has_the_options_with_several_values() -> None:
    [serve] = [
        command
        for name, command in get_command(build_app()).commands.items()  # type: ignore[attr-defined]
        if name == "serve"
    ]
    several = {
        name for each in serve.params if getattr(each, "multiple", False) for name in each.opts
    }
    assert several >= SEVERAL


def test_a_command_line_of_vllms_is_accepted() -> None:
    """The error is of the model, which is looked up after the options."""
    options = [
        "--tensor-parallel-size",
        "1",
        "--disable-log-requests",
        "--disable-uvicorn-access-log",
        "--disable-log-stats",
        "--max-log-len",
        "100",
        "--enable-request-id-headers",
        "--root-path",
        "/llm",
        "--uvicorn-log-level",
        "warning",
        "--generation-config",
        "vllm",
        "--disable-fastapi-docs",
        "--served-model-name",
        "a",
        "b",
        "--api-key",
        "x",
        "y",
        "--max_model_len",
        "100",
        "--enable-chunked-prefill",
        "--enable-log-requests",
        "--enable-tokenizer-info-endpoint",
        "--allow-credentials",
    ]
    command = ["serve", "./no/such/model", *options, "--allowed-origins", '["*"]']
    result = CliRunner().invoke(build_app(), [*command, "--port", "0"])
    assert result.exit_code == 1
    assert "./no/such/model" in result.stderr


def test_the_error_is_one_line() -> None:
    arguments = ["serve", "./no/such/model", "--tensor-parallel-size", "2"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --tensor-parallel-size 2 ")
    assert result.stderr.count("\n") == 1
