"""Runs whose controller, database or machine went away in the middle."""

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.control.errors import StoreError
from headrace.control.launchers.base import LaunchPlan
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.processes.ports import find_free_port
from headrace.control.processes.process_group import is_alive
from headrace.control.resources import ProcessHandle, RunState
from headrace.control.store.store import Store
from headrace.testing.processes.controlled_runs import ControlledRuns


def test_a_new_controller_goes_on_where_the_last_one_ended(runs: ControlledRuns) -> None:
    port = find_free_port()
    command = "echo up; while ! test -e end; do sleep 0.05; done; exit 3"
    run_id = runs.create(command, ports=[port])

    async def begin() -> None:
        async with runs.controlled():
            await runs.until_logged(run_id, "up")
            await runs.until_state(run_id, RunState.RUNNING)

    asyncio.run(begin())
    before = runs.read(run_id)
    assert before.process is not None
    assert is_alive(before.process)
    runs.controller = runs.new_controller()

    async def go_on() -> None:
        async with runs.controlled():
            await runs.controller.do_pass()
            assert runs.read(run_id) == before
            (Path(str(before.folder)) / "end").touch()
            run = await runs.until_over(run_id)
            assert (run.state, run.exit_code) == (RunState.FAILED, 3)

    asyncio.run(go_on())
    assert runs.log(run_id) == "up\n"


@pytest.mark.parametrize("is_over", [False, True])
def test_what_was_started_and_not_written_down_is_found_and_not_started_again(
    runs: ControlledRuns, is_over: bool
) -> None:
    """As if the control plane had been killed between the two."""
    started: list[ProcessHandle] = []

    class Launcher(ProcessLauncher):
        def start(self, plan: LaunchPlan) -> ProcessHandle:
            started.append(super().start(plan))
            raise KeyboardInterrupt  # no except clause is for this

    runs.launcher = Launcher()
    runs.controller = runs.new_controller()
    port = find_free_port()
    command = "echo up" if is_over else "echo up; sleep 600"
    run_id = runs.create(command, ports=[port])
    steps = runs.controller._steps
    for _ in range(2):
        try:
            steps.take(runs.read(run_id))
        except KeyboardInterrupt:
            break
    assert runs.read(run_id).state is RunState.IMPORTING
    runs.controller = runs.new_controller()

    async def go_on() -> None:
        async with runs.controlled():
            await runs.until_logged(run_id, "up")
            if is_over:
                await runs.until(lambda: not is_alive(started[0]))
            wanted = RunState.COMPLETED if is_over else RunState.RUNNING
            run = await runs.until_state(run_id, wanted)
            assert run.process == started[0]
            assert run.host_ports == {port: port}
            assert "after a restart" in runs.events(run_id)["running"]

    asyncio.run(go_on())
    assert len(started) == 1
    assert runs.log(run_id) == "up\n"


def test_a_process_that_got_the_pid_later_is_not_the_run(runs: ControlledRuns) -> None:
    run_id = runs.create("sleep 600")
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    fields = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()
    started_at = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    with runs.store.begin() as tx:
        now, handle = runs.now(), ProcessHandle(other.pid, started_at)
        tx.change_run(run_id, RunState.PENDING, RunState.IMPORTING, now)
        tx.change_run(run_id, RunState.IMPORTING, RunState.RUNNING, now, process=handle)

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert run.state is RunState.FAILED
        assert "No exit code" in str(run.cause)

    try:
        runs.go(story)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_database_that_is_away_for_a_while_fails_no_run(
    runs: ControlledRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runs.create("sleep 600")
    begin = Store.begin

    async def story() -> None:
        await runs.until_state(run_id, RunState.RUNNING)
        tried: list[None] = []

        def fail(self: Store) -> Any:
            tried.append(None)
            raise StoreError("The database cannot be used.")

        with monkeypatch.context() as patched:
            patched.setattr(Store, "begin", fail)
            run = runs.read(run_id)
            assert run.process is not None
            runs.launcher.kill(run_id, run.process)
            await runs.until(lambda: len(tried) > 0)
        assert Store.begin is begin
        assert (await runs.until_over(run_id)).state is RunState.FAILED
        assert "killed" in str(runs.read(run_id).cause)

    runs.go(story)


def test_a_run_whose_spec_cannot_be_read_hurts_no_other(runs: ControlledRuns) -> None:
    good = runs.create("echo up")
    bad = replace(runs.read(good), run_id="1", spec={"nonsense": True})
    with runs.store.begin() as tx:
        tx.add_run(bad)

    async def story() -> None:
        run = await runs.until_over("1")
        assert run.cause == "This version of Headrace cannot read it: nonsense."
        assert (await runs.until_over(good)).state is RunState.COMPLETED

    runs.go(story)
