"""`headrace serve` refuses invalid options with one line, before the model is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.main import build_app
from headrace.testing.certificates import write_certificate

NO_MODEL = "./no/such/model"
"""The model of every command here: another error means that it was not looked up yet."""


def refuse(*arguments: str, env: dict[str, str] | None = None) -> str:
    """The one line on stderr."""
    result = CliRunner().invoke(build_app(), ["serve", *arguments], env=env)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--shutdown-timeout", "-1"),
        ("--shutdown-timeout", "nan"),
        ("--shutdown-timeout", "inf"),
        ("--max-model-len", "1"),
        ("--max-num-seqs", "0"),
        ("--max-num-batched-tokens", "-5"),
        ("--block-size", "0"),
        ("--num-threads", "0"),
        ("--gpu-memory-utilization", "0"),
        ("--kv-cache-memory", "much"),
        ("--max-queue", "-1"),
        ("--max-loaded", "0"),
        ("--keep-alive", "-1"),
        ("--max-body-size", "0"),
        ("--port", "99999"),
        ("--host", ""),
        ("--tokenizer", ""),
        ("--served-model-name", ""),
        ("--allowed-origins", "example.com"),
        ("--allowed-origins", '["http://a", 1]'),
        ("--allowed-hosts", "example.com:8000"),
        ("--api-key", ""),
        ("--api-key", " "),
        ("--api-key", "zwölf"),
    ],
)
def test_the_error_for_an_invalid_value_names_its_option(option: str, value: str) -> None:
    assert refuse(NO_MODEL, option, value).startswith(f"{option} ")


def test_a_repeated_model_name_is_refused() -> None:
    names = ("--served-model-name", "a", "--served-model-name", "a")
    assert refuse(NO_MODEL, *names).startswith("--served-model-name ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((NO_MODEL, "./other", "--served-model-name", "a"), "--served-model-name"),
        ((NO_MODEL, "./other", "--model", NO_MODEL), "--model"),
        ((NO_MODEL, NO_MODEL), NO_MODEL),
        ((NO_MODEL, "--models-file", "./no.yaml"), "--models-file"),
        (("--served-model-name", "a", "--models-file", "./no.yaml"), "--served-model-name"),
        (("--models-file", "./no.yaml"), "no.yaml"),
    ],
)
def test_models_that_conflict_are_refused(arguments: tuple[str, ...], named: str) -> None:
    assert named in refuse(*arguments)


@pytest.mark.parametrize("arguments", [("",), ("--model", ""), ("  ",)])
def test_an_empty_model_is_not_the_default_model(arguments: tuple[str, ...]) -> None:
    assert "model" in refuse(*arguments)


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_key_in_the_environment_is_refused(value: str) -> None:
    assert "HEADRACE_API_KEY" in refuse(NO_MODEL, env={"HEADRACE_API_KEY": value})


def test_invalid_files_are_refused_before_the_model_is_looked_up(
    tmp_path: Path,
) -> None:
    """In separate processes, because the server configures logging."""
    empty = tmp_path / "empty"
    empty.touch()
    files = write_certificate(tmp_path)
    tls = ("--ssl-certfile", str(files.certfile), "--ssl-keyfile")
    for named, arguments in (
        ("--api-key-file", ("--api-key-file", str(empty))),
        ("--ssl-keyfile", tls[:2]),
        ("--ssl-keyfile", (*tls, str(empty))),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "serve", NO_MODEL, "--port", "0", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120.0,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert named in done.stderr
