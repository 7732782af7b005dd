import asyncio
from datetime import UTC, datetime

import pytest

from headrace.control.resources import Replica, ReplicaState, RevisionKey
from headrace.dashboard.served_models import ServedModels
from headrace.testing.servers.scripted_server import Reply, ScriptedServer, whole

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEY = RevisionKey("svc", 1)
MODELS = whole({"object": "list", "data": [{"id": "smollm2-135m"}, {"id": "alias"}]})


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def replica_on(url: str, state: ReplicaState = ReplicaState.READY) -> Replica:
    port = int(url.rpartition(":")[2])
    return Replica("svc-1-aaaaa", "svc", 1, state, NOW, NOW, host_ports={8000: port})


def test_a_ready_replica_is_asked_once() -> None:
    async def run() -> None:
        async with ScriptedServer([MODELS]) as server:
            models = ServedModels()
            replicas = [replica_on(server.base_url)]
            for _ in range(3):
                assert await models.names(KEY, 8000, replicas) == ["smollm2-135m", "alias"]
            assert len(server.requests) == 1

    asyncio.run(run())


def test_without_a_ready_replica_no_name_is_known() -> None:
    async def run() -> None:
        async with ScriptedServer([MODELS]) as server:
            models = ServedModels()
            starting = replica_on(server.base_url, ReplicaState.STARTING)
            assert await models.names(KEY, 8000, [starting]) == []
            assert await models.names(RevisionKey("svc", 2), 9000, [starting]) == []
            assert server.requests == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "reply",
    [
        whole({"error": "no key"}, "401 Unauthorized"),
        whole(b"not JSON"),
        whole([1]),
        whole({"data": [{"id": 1}, {}, 5, {"id": ""}]}),
        whole({"data": None}),
        whole(b" " * 2_000_000),
    ],
)
def test_a_replica_that_says_no_name_is_asked_again_later(reply: Reply) -> None:
    async def run() -> None:
        clock = Clock()
        async with ScriptedServer([reply, MODELS]) as server:
            models = ServedModels(clock)
            replicas = [replica_on(server.base_url)]
            assert await models.names(KEY, 8000, replicas) == []
            assert await models.names(KEY, 8000, replicas) == []
            assert len(server.requests) == 1
            clock.now_s = 15.0
            assert await models.names(KEY, 8000, replicas) == ["smollm2-135m", "alias"]

    asyncio.run(run())
