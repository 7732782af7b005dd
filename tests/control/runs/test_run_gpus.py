"""Runs and their GPUs, with real processes on a list of GPUs."""

from headrace.control.devices.gpus import Gpu
from headrace.control.operations.runs import terminate_run
from headrace.control.resources import Replica, ReplicaState, RunState, Service
from headrace.testing.processes.controlled_runs import ControlledRuns

TELLING = "echo sees ${CUDA_VISIBLE_DEVICES-all}; while ! test -e end; do sleep 0.05; done"
ONE = (Gpu("GPU-a", 0),)


def with_gpus(runs: ControlledRuns, gpus: tuple[Gpu, ...]) -> None:
    runs.gpus = gpus
    runs.controller = runs.new_controller()


def test_a_run_waits_for_the_gpu_of_another_and_gets_it(runs: ControlledRuns) -> None:
    with_gpus(runs, ONE)
    first = runs.create(TELLING, resources={"gpu": 1})

    async def story() -> None:
        await runs.until_logged(first, "sees GPU-a")
        second = runs.create("echo sees $CUDA_VISIBLE_DEVICES", resources={"gpu": 1})
        told = f"Waiting for 1 GPU: the only one is in use by run {first}."
        await runs.until(lambda: runs.read(second).cause == told)
        assert runs.read(second).state is RunState.PENDING
        assert runs.events(second)["pending"] == told
        terminate_run(runs.store, first, runs.now())
        run = await runs.until_over(second)
        assert (run.state, run.gpus) == (RunState.COMPLETED, {"GPU-a": 1})
        assert not run.cause
        assert runs.log(second) == "sees GPU-a\n"

    runs.go(story)


def test_a_run_waits_for_a_replicas_gpu_too(runs: ControlledRuns) -> None:
    with_gpus(runs, ONE)
    now = runs.now()
    replica = Replica("svc-1-x", "svc", 1, ReplicaState.PENDING, now, now, gpus={"GPU-a": 0.6})
    with runs.store.begin() as tx:
        tx.add_service(Service("svc", now))
        tx.add_revision("svc", {}, 1, now)
        tx.add_replica(replica)
    half = runs.create("true", resources={"gpu": 0.5})
    told = "Waiting for 0.5 GPU: the only one is in use by svc revision 1."

    async def story() -> None:
        await runs.until(lambda: runs.read(half).cause == told)
        rest = runs.create("true", resources={"gpu": 0.4})
        assert (await runs.until_over(rest)).gpus == {"GPU-a": 0.4}
        with runs.store.begin() as tx:
            assert tx.change_replica("svc-1-x", replica.state, ReplicaState.STOPPED, now)
        assert (await runs.until_over(half)).state is RunState.COMPLETED

    runs.go(story)


def test_more_than_there_are_fails_a_run_and_none_at_all_do_not(runs: ControlledRuns) -> None:
    run_id = runs.create("echo sees ${CUDA_VISIBLE_DEVICES-all}", resources={"gpu": 2})

    async def without() -> None:
        assert (await runs.until_over(run_id)).state is RunState.COMPLETED
        assert runs.log(run_id) == "sees all\n"

    runs.go(without)
    with_gpus(runs, ONE)
    again = runs.create("true", resources={"gpu": 2})

    async def with_one() -> None:
        run = await runs.until_over(again)
        assert (run.state, run.cause) == (
            RunState.FAILED,
            "Insufficient GPUs: 2 requested, this machine has 1.",
        )

    runs.go(with_one)


def test_a_run_that_goes_on_under_a_new_controller_keeps_its_gpu(runs: ControlledRuns) -> None:
    with_gpus(runs, ONE)
    run_id = runs.create(TELLING, resources={"gpu": 1})

    async def begin() -> None:
        await runs.until_logged(run_id, "sees GPU-a")
        await runs.until_state(run_id, RunState.RUNNING)

    runs.go(begin)
    with_gpus(runs, ONE)
    other = runs.create("true", resources={"gpu": 1})

    async def go_on() -> None:
        await runs.until(lambda: f"run {run_id}" in (runs.read(other).cause or ""))
        assert runs.read(run_id).gpus == {"GPU-a": 1}
        terminate_run(runs.store, other, runs.now())
        assert (await runs.until_over(other)).state is RunState.TERMINATED

    runs.go(go_on)
