"""A failed start fails its run, with the cause, and no other run."""

from dataclasses import replace
from typing import Any

import psutil
import pytest

from headrace.control.launchers.base import LaunchPlan
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.processes.process_group import LAUNCH_NAME_VARIABLE
from headrace.control.resources import ProcessHandle, RunState
from headrace.testing.processes.controlled_runs import ControlledRuns

UNLAUNCHABLE: dict[str, dict[str, Any]] = {
    "NUL in a value": {"env": {"X": "a\0b"}},
    "a lone surrogate in a value": {"env": {"X": "\ud800"}},
    "an environment that is too long": {"env": {"X": "x" * 200_000}},
    "NUL in a command": {"run": "echo a\0b"},
    "a command that is too long": {"run": f"true {'x' * 200_000}"},
    "a workdir that is too long": {"run": [{"command": "true", "workdir": f"/{'x' * 300}"}]},
    "a folder's name that is too long": {"import": {f"/{'x' * 300}": {"artifact": {"name": "a"}}}},
}
FAILURES: list[BaseException] = [
    BlockingIOError(11, "Resource temporarily unavailable"),
    MemoryError(),
    RuntimeError("can't start new thread"),
]


class FailingLauncher(ProcessLauncher):
    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.num_starts = 0

    def start(self, plan: LaunchPlan) -> ProcessHandle:
        if "BAD" not in plan.env:
            return super().start(plan)
        self.num_starts += 1
        raise self.error


@pytest.mark.parametrize("spec", UNLAUNCHABLE.values(), ids=UNLAUNCHABLE)
def test_what_cannot_be_launched_has_failed(runs: ControlledRuns, spec: dict[str, Any]) -> None:
    good = runs.create("echo up")
    bad = replace(runs.read(good), run_id="1", spec={"name": "bad", "run": "true", **spec})
    with runs.store.begin() as tx:
        tx.add_run(bad)

    async def story() -> None:
        run = await runs.until_over("1")
        assert run.state is RunState.FAILED
        assert run.cause
        assert list(runs.events("1")) == ["importing", "failed"]
        assert (await runs.until_over(good)).state is RunState.COMPLETED

    runs.go(story)
    assert not any(_is_marked(process) for process in psutil.process_iter())


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_start_that_fails_in_any_way_is_tried_once(
    runs: ControlledRuns, error: BaseException
) -> None:
    launcher = runs.launcher = FailingLauncher(error)
    runs.controller = runs.new_controller()
    bad = runs.create("true", env={"BAD": "1"})
    good = runs.create("echo up")

    async def story() -> None:
        assert (await runs.until_over(bad)).state is RunState.FAILED
        assert (await runs.until_over(good)).state is RunState.COMPLETED

    runs.go(story)
    assert launcher.num_starts == 1


def test_a_run_that_is_given_up_does_not_run_on(runs: ControlledRuns) -> None:
    """Such as a run of another version of Headrace, with an unknown key."""
    run_id = runs.create("sleep 600")

    async def story() -> None:
        run = await runs.until_state(run_id, RunState.RUNNING)
        assert run.process is not None
        with runs.store.begin() as tx:
            tx._connection.exec_driver_sql("UPDATE runs SET spec = '{\"nonsense\": true}'")
        assert (await runs.until_over(run_id)).state is RunState.FAILED
        handle = run.process
        await runs.until(lambda: not runs.launcher.adopt(run_id, handle))

    runs.go(story)


def _is_marked(process: psutil.Process) -> bool:
    try:
        return bool(
            process.environ().get(LAUNCH_NAME_VARIABLE) == "1" and process.status() != "zombie"
        )
    except psutil.Error:
        return False
