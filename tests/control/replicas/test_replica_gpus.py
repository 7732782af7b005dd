"""Who gets which GPU, with the real store, controller and processes, on a list of GPUs."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headrace.control.devices.gpus import Gpu
from headrace.control.replicas.replica_gpus import ReplicaGpus
from headrace.control.resources import Replica, ReplicaState, RevisionPhase
from headrace.testing.processes.control_plane import MOCK, START, ControlPlane

TWO = (Gpu("GPU-a", 0), Gpu("GPU-b", 1))
TELLING = f"echo sees ${{CUDA_VISIBLE_DEVICES-all}}; exec {MOCK}"


def run(
    home: Path, scenario: Callable[[ControlPlane], Awaitable[None]], gpus: tuple[Gpu, ...] = TWO
) -> None:
    async def whole() -> None:
        async with ControlPlane(home) as plane:
            plane.gpus = gpus
            await plane.take_over()
            await scenario(plane)

    asyncio.run(whole())


def seen_by(plane: ControlPlane, replica: Replica) -> str:
    """What CUDA_VISIBLE_DEVICES is in the replica's process."""
    assert replica.log_path is not None
    return Path(replica.log_path).read_text().splitlines()[0].removeprefix("sees ")


async def up(plane: ControlPlane, num: int, revision: int | None = None) -> list[Replica]:
    await plane.run_until(lambda: len(plane.ready(revision)) == num)
    return plane.ready(revision)


async def until_waiting(plane: ControlPlane, told: str) -> Replica:
    def waiting() -> list[Replica]:
        return [one for one in plane.replicas(ReplicaState.PENDING) if one.cause == told]

    await plane.run_until(lambda: len(waiting()) == 1)
    return waiting()[0]


def test_each_replica_has_a_gpu_of_its_own_and_what_asks_for_none_sees_all(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(TELLING, 2, resources={"gpu": 1})
        mine = await up(plane, 2)
        assert sorted(tuple(one.gpus.items()) for one in mine) == [(("GPU-a", 1),), (("GPU-b", 1),)]
        assert all([seen_by(plane, one)] == list(one.gpus) for one in mine)
        plane.add_revision(TELLING)
        [other] = await up(plane, 1, revision=2)
        assert (other.gpus, seen_by(plane, other)) == ({}, "all")

    run(tmp_path, scenario)


def test_what_finds_no_gpu_waits_says_for_whom_and_starts_when_one_is_free(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(TELLING, 2, resources={"gpu": 1})
        await up(plane, 2)
        plane.add_revision(TELLING, resources={"gpu": 1})
        told = "Waiting for 1 GPU: all 2 are in use by svc revision 1 (2 replicas)."
        waiting = await until_waiting(plane, told)
        await plane.run_passes()
        gpus = ReplicaGpus(plane.store, plane.gpus, plane.clock)
        assert gpus.assign(waiting, 1) is None  # as when another one was faster
        assert sum(" pending: " in event for event in plane.events()) == 1  # told once
        assert plane.replicas(revision=2) == [waiting]
        plane.clock.advance(10_000)  # longer than any replica may take to become ready

        plane.set_num_desired(1, 1)
        [started] = await up(plane, 1, revision=2)
        assert started.replica_id == waiting.replica_id
        [stayed] = plane.ready(revision=1)
        assert set(started.gpus) | set(stayed.gpus) == {"GPU-a", "GPU-b"}
        assert seen_by(plane, started) == next(iter(started.gpus))

    run(tmp_path, scenario)


def test_of_many_that_wait_one_gets_what_is_freed(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(TELLING, 5, resources={"gpu": 1})
        [first] = await up(plane, 1)
        await plane.run_until(lambda: len(plane.replicas(ReplicaState.PENDING)) == 4)
        assert first.process is not None
        plane.launcher.kill(first.replica_id, first.process)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED)))
        [second] = await up(plane, 1)
        assert second.gpus == first.gpus
        assert second.replica_id != first.replica_id
        assert len(plane.replicas(ReplicaState.PENDING)) == 4

    run(tmp_path, scenario, gpus=TWO[:1])


def test_halves_share_one_gpu(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(TELLING, 2, resources={"gpu": 0.5})
        halves = await up(plane, 2)
        assert [one.gpus for one in halves] == [{"GPU-a": 0.5}] * 2
        plane.add_revision(TELLING, resources={"gpu": 2})
        await until_waiting(
            plane, "Waiting for 2 GPUs: 1 of 2 is in use by svc revision 1 (2 replicas)."
        )

    run(tmp_path, scenario)


def test_more_than_there_are_fails_and_says_so(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(TELLING, resources={"gpu": 3})
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.FAILED)))
        [failed, *_] = plane.replicas(ReplicaState.FAILED)
        assert failed.cause == "Insufficient GPUs: 3 requested, this machine has 2."
        assert failed.process is None

    run(tmp_path, scenario)


def test_without_any_gpu_everything_runs_as_it_is(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(TELLING, resources={"gpu": 8})
        [replica] = await up(plane, 1)
        assert (replica.gpus, seen_by(plane, replica)) == ({}, "all")

    run(tmp_path, scenario, gpus=())


def test_a_new_controller_knows_who_has_what_and_who_waits(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(TELLING, 2, resources={"gpu": 1})
        before = await up(plane, 2)
        plane.add_revision(TELLING, resources={"gpu": 1})
        told = "Waiting for 1 GPU: all 2 are in use by svc revision 1 (2 replicas)."
        waiting = await until_waiting(plane, told)
        await plane.take_over()
        await plane.run_passes(10)
        assert plane.ready() == before
        assert plane.replicas(ReplicaState.PENDING) == [waiting]
        plane.set_num_desired(1, 1)
        [started] = await up(plane, 1, revision=2)
        assert started.replica_id == waiting.replica_id

    run(tmp_path, scenario)


def test_a_gpu_of_one_that_was_never_started_comes_back(tmp_path: Path) -> None:
    """As if the control plane had been killed after it gave the GPU and before it started."""

    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(TELLING, resources={"gpu": 1})
        with plane.store.begin() as tx:
            half_done = Replica("svc-1-x", "svc", 1, ReplicaState.PENDING, START, START)
            tx.add_replica(half_done)
            assert tx.note_pending("svc-1-x", gpus={"GPU-a": 1})
        await plane.take_over()
        [replica] = await up(plane, 1)
        assert replica.replica_id != "svc-1-x"
        with plane.store.read() as tx:
            assert [dict(one.shares) for one in tx.gpu_holdings()] == [replica.gpus]

    run(tmp_path, scenario, gpus=TWO[:1])


@pytest.mark.parametrize("is_terminated", [False, True])
def test_what_waits_can_be_called_off(tmp_path: Path, is_terminated: bool) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision(TELLING, resources={"gpu": 1})
        await up(plane, 1)
        plane.add_revision(TELLING, resources={"gpu": 1})
        waiting = await until_waiting(
            plane, "Waiting for 1 GPU: the only one is in use by svc revision 1."
        )
        if is_terminated:
            with plane.store.begin() as tx:
                tx.set_phase("svc", 2, RevisionPhase.TERMINATING)
        else:
            plane.set_num_desired(2, 0)
        await plane.run_until(lambda: bool(plane.replicas(ReplicaState.STOPPED)))
        [stopped] = plane.replicas(ReplicaState.STOPPED)
        assert stopped.replica_id == waiting.replica_id
        assert len(plane.ready()) == 1

    run(tmp_path, scenario, gpus=TWO[:1])


def test_the_gpu_of_a_replica_that_fails_goes_to_the_next(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision("exit 3", resources={"gpu": 1})
        await plane.run_until(lambda: len(plane.replicas(ReplicaState.FAILED)) == 2)
        assert all(one.gpus == {"GPU-a": 1} for one in plane.replicas(ReplicaState.FAILED))
        with plane.store.begin() as tx:
            tx.set_phase("svc", 1, RevisionPhase.TERMINATING)
        plane.add_revision(TELLING, resources={"gpu": 1})
        [replica] = await up(plane, 1, revision=2)
        assert replica.gpus == {"GPU-a": 1}

    run(tmp_path, scenario, gpus=TWO[:1])
