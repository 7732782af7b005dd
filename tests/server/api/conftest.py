"""A server whose outputs are written by the tests."""

from collections.abc import Iterator

import pytest

from headrace.testing.fakes.fake_model import SCRIPT_PERIOD
from headrace.testing.processes.server_process import ServerProcess


@pytest.fixture(scope="module")
def parrot(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    """It says what scripts say, in Hermes' format with reasoning. Its keys: sesame and other."""
    arguments = (
        *(f"parrot?period={SCRIPT_PERIOD}&max_position=200000&num_blocks=20000",),
        *("--served-model-name", "parrot", "--served-model-name", "second-parrot"),
        *("--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"),
        *("--max-stored-responses", "50"),
    )
    environment = {"HEADRACE_API_KEY": "sesame other"}
    with ServerProcess(
        *arguments, command=fake_command, env=environment, start_timeout_s=120.0
    ) as process:
        yield process
