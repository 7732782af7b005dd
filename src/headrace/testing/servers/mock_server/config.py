"""How one mock server behaves, from its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MockConfig:
    host: str = "127.0.0.1"
    port: int = 0
    tokens_per_s: float = 0.0
    """Per stream; 0: as fast as possible."""
    first_token_s: float = 0.0
    startup_s: float = 0.0
    """Until then every response but that of /metrics is 503."""
    model: str = "mock"
    name: str = "mock"
    """The value of the header x-replica."""
    chunk_tokens: int = 1
    """Tokens in one event of a stream."""
    max_concurrency: int | None = None
    """Maximum number of concurrent responses; further requests are queued. None: no limit."""


def parse_arguments(arguments: Sequence[str] | None = None) -> MockConfig:
    parser = argparse.ArgumentParser(
        prog="python -m headrace.testing.servers.mock_server",
        description="A very fast stand-in for a model server.",
    )
    parser.add_argument("--host", default=MockConfig.host)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--tokens-per-s", type=float, default=0.0, help="per stream; 0: no delay")
    parser.add_argument("--first-token-s", type=float, default=0.0)
    parser.add_argument("--startup-s", type=float, default=0.0, help="503 until then")
    parser.add_argument("--model", default=MockConfig.model)
    parser.add_argument("--name", default=MockConfig.name, help="its x-replica header")
    parser.add_argument("--chunk-tokens", type=int, default=1, help="tokens in one event")
    parser.add_argument("--max-concurrency", type=int, default=None)
    values = parser.parse_args(arguments)
    if values.chunk_tokens < 1:
        parser.error("--chunk-tokens must be at least 1.")
    if values.max_concurrency is not None and values.max_concurrency < 1:
        parser.error("--max-concurrency must be at least 1.")
    return MockConfig(**vars(values))
