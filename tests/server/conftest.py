"""Server processes, most of them on a fake engine core, and clients."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from headrace.models.sources.files import ModelFiles
from headrace.testing.processes.server_process import ServerProcess

StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def fake_command() -> tuple[str, ...]:
    """The command that serves the fake model."""
    return (sys.executable, str(Path(__file__).with_name("fake_server.py")))


@pytest.fixture
def start_server(fake_command: tuple[str, ...]) -> Iterator[StartServer]:
    """Starts servers that are stopped at the end of the test."""
    with ExitStack() as stack:

        def start(*arguments: str, env: dict[str, str] | None = None) -> ServerProcess:
            process = ServerProcess(
                *arguments, command=fake_command, env=env, start_timeout_s=120.0
            )
            return stack.enter_context(process)

        yield start


@pytest.fixture(scope="session")
def server(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    """One server for all tests that do not change its state."""
    arguments = ("parrot", "--served-model-name", "parrot", "--served-model-name", "polly")
    with ServerProcess(*arguments, command=fake_command, start_timeout_s=120.0) as process:
        yield process


@pytest.fixture(scope="session")
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with connect(server) as client:
        yield client


@pytest.fixture(scope="session")
def real_server(default_model_files: ModelFiles) -> Iterator[ServerProcess]:
    """``headrace serve`` with the default model."""
    arguments = ("--max-model-len", "1024", "--kv-cache-memory", "256MiB")
    with ServerProcess("smollm2-135m", *arguments, start_timeout_s=240.0) as process:
        yield process


def connect(server: ServerProcess, api_key: str = "none") -> openai.OpenAI:
    """The openai client without retries, which would hide failures."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=120.0)
