"""One gateway process for all tests that do not change its state, and mock servers."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from headrace.core.gateway.routes import ReplicaRoute, ServiceRoute, TargetRoute
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess

StartMock = Callable[..., MockServerProcess]
Route = Callable[..., str]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Allows all hosts; test_access.py has gateways that do not."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), "--allowed-hosts", "*") as process:
        yield process


@pytest.fixture(scope="session")
def mock() -> Iterator[MockServerProcess]:
    with MockServerProcess() as process:
        yield process


@pytest.fixture
def start_mock() -> Iterator[StartMock]:
    """Starts mock servers for one test."""
    with ExitStack() as stack:

        def start(*arguments: str, name: str = "mock") -> MockServerProcess:
            return stack.enter_context(MockServerProcess(*arguments, name=name))

        yield start


_numbers = itertools.count(1)


@pytest.fixture
def route(gateway: GatewayProcess) -> Route:
    """Routes a new service to these replicas, and returns its name; again, with
    ``name``, to change it."""

    def change(
        *replicas: ReplicaRoute,
        name: str | None = None,
        scales_from_zero: bool = False,
        **fields: Any,
    ) -> str:
        name = name or f"svc{next(_numbers)}"
        target = TargetRoute(1, 3000, 100, replicas, scales_from_zero)
        gateway.follow(ServiceRoute(name, True, (target,), **fields))
        return name

    return change
