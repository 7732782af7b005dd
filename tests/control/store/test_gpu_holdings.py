"""Who has which GPU, on both databases."""

from datetime import UTC, datetime

import pytest

from headrace.control.devices.assignment import Holding
from headrace.control.resources import Replica, ReplicaState, Run, RunState, Service
from headrace.control.store.store import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def deployed(store: Store) -> Store:
    """A replica and a run that wait."""
    with store.begin() as tx:
        tx.add_service(Service("openllm", NOW))
        tx.add_revision("openllm", {}, 1, NOW)
        tx.add_replica(Replica("openllm-1-a", "openllm", 1, ReplicaState.PENDING, NOW, NOW))
        tx.add_run(Run("42", "job", {}, RunState.PENDING, NOW, NOW))
    return store


def holdings(store: Store) -> list[Holding]:
    with store.read() as queries:
        return [one for one in queries.gpu_holdings() if one.shares]


def test_gpus_are_held_until_a_replica_is_gone_and_a_run_over(deployed: Store) -> None:
    state, running = RunState.PENDING, RunState.IMPORTING
    with deployed.begin() as tx:
        assert tx.note_pending("openllm-1-a", gpus={"GPU-a": 1, "GPU-b": 1})
        assert tx.change_run("42", state, running, NOW, gpus={"GPU-c": 0.125})
    assert holdings(deployed) == [
        Holding("openllm revision 1", {"GPU-a": 1, "GPU-b": 1}),
        Holding("run 42", {"GPU-c": 0.125}),
    ]
    with deployed.begin() as tx:
        tx.change_replica("openllm-1-a", ReplicaState.PENDING, ReplicaState.FAILED, NOW)
        tx.change_run("42", running, RunState.FAILED, NOW)
    assert holdings(deployed) == []
    with deployed.read() as queries:
        replica = queries.replica("openllm-1-a")
        assert replica is not None
        assert replica.gpus == {"GPU-a": 1, "GPU-b": 1}  # what it had is told afterwards too


def test_only_what_is_pending_is_given_gpus(deployed: Store) -> None:
    with deployed.begin() as tx:
        assert tx.note_pending("openllm-1-a", cause="It waits.")
        tx.change_replica("openllm-1-a", ReplicaState.PENDING, ReplicaState.STOPPED, NOW)
        assert not tx.note_pending("openllm-1-a", gpus={"GPU-a": 1})
        assert not tx.note_pending("nobody", gpus={"GPU-a": 1})
    assert holdings(deployed) == []


def test_rows_from_before_there_were_gpus_have_none(deployed: Store) -> None:
    with deployed.begin() as tx:
        for table in ("replicas", "runs"):
            tx._connection.exec_driver_sql(f"UPDATE {table} SET gpus = NULL")
    with deployed.read() as queries:
        assert [replica.gpus for replica in queries.replicas()] == [{}]
        assert [run.gpus for run in queries.runs()] == [{}]
