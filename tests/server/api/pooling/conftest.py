"""A server whose fake model gives embeddings."""

from collections.abc import Iterator

import pytest

from headrace.testing.processes.server_process import ServerProcess

SIZE = 8


@pytest.fixture(scope="session")
def embedder(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    """Each number of a vector is how often the bytes occur that equal its place modulo 8."""
    arguments = (f"parrot?vector_size={SIZE}", "--served-model-name", "parrot", "--access-log")
    options = ("--max-model-len", "64", "--log-format", "json")
    with ServerProcess(*arguments, *options, command=fake_command) as process:
        yield process
