"""What becomes of runs; with real processes, imports and artifacts."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from headrace.control.errors import StoreError
from headrace.control.launchers.base import LaunchPlan
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.operations.runs import (
    terminate_run,
)
from headrace.control.processes.ports import find_free_port
from headrace.control.processes.process_group import is_alive
from headrace.control.resources import ProcessHandle, RunState
from headrace.control.retention.policy import LogLimit
from headrace.control.runs.run_controller import RunController
from headrace.control.runs.run_steps import RunSteps
from headrace.testing.processes.controlled_runs import ControlledRuns

MIB = 1024 * 1024


def test_a_run_that_ends_well_is_completed(runs: ControlledRuns) -> None:
    run_id = runs.create("echo hello; echo $GREETING", env={"GREETING": "bonjour"})

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert (run.state, run.exit_code, run.cause) == (RunState.COMPLETED, 0, None)
        assert runs.log(run_id) == "hello\nbonjour\n"
        events = list(runs.events(run_id))
        assert events == ["created", "importing", "running", "exporting", "completed"]
        assert Path(run.folder or "").stat().st_mode & 0o777 == 0o700

    runs.go(story)


def test_what_is_over_is_not_remembered(runs: ControlledRuns) -> None:
    ended = runs.create("echo hello")
    terminated = runs.create("exec sleep 60")

    async def story() -> None:
        await runs.until_over(ended)
        await runs.until_state(terminated, RunState.RUNNING)
        terminate_run(runs.store, terminated, runs.now())
        await runs.until_over(terminated)
        steps = runs.controller._steps
        await runs.until(lambda: not steps._ours and not steps._stop_signaled)

    runs.go(story)


def test_a_run_that_fails_says_how_its_log_ended(runs: ControlledRuns) -> None:
    run_id = runs.create("for n in 1 2 3; do echo line $n; done; exit 7")

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert (run.state, run.exit_code) == (RunState.FAILED, 7)
        assert run.cause == "Exited with code 7. Last lines of the log:\nline 1\nline 2\nline 3"
        assert runs.events(run_id)["failed"] == "Exited with code 7. No exports."

    runs.go(story)


def test_what_a_failed_run_made_is_kept(runs: ControlledRuns) -> None:
    export = {"/out/": "artifact://results"}
    run_id = runs.create("echo 1 >/out/numbers; exit 1", export=export)

    async def story() -> None:
        assert (await runs.until_over(run_id)).state is RunState.FAILED
        assert (runs.folder / "artifacts" / "results" / "numbers").read_text() == "1\n"
        assert "Exported /out as artifact results" in runs.events(run_id)["failed"]

    runs.go(story)


def test_an_export_that_cannot_be_kept_fails_the_run(runs: ControlledRuns) -> None:
    run_id = runs.create("rmdir /out", export={"/out/": "artifact://results"})

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert (run.state, run.exit_code) == (RunState.FAILED, 0)
        assert run.cause == "export /out: the commands created no such folder."

    runs.go(story)


def test_an_import_that_is_not_there_fails_the_run(runs: ControlledRuns) -> None:
    run_id = runs.create("true", **{"import": {"/data": "./nothing"}})

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert run.state is RunState.FAILED
        assert run.cause == f"import /data: {runs.folder}/nothing does not exist on this machine."
        assert run.process is None

    runs.go(story)


def test_a_terminated_run_gets_sigterm_and_what_it_made_is_kept(runs: ControlledRuns) -> None:
    command = "trap 'echo bye; echo 1 >/out/kept; exit 0' TERM; echo up; sleep 600 & wait"
    run_id = runs.create(command, export={"/out": "artifact://cache"})

    async def story() -> None:
        await runs.until_logged(run_id, "up")
        handle = (await runs.until_state(run_id, RunState.RUNNING)).process
        terminate_run(runs.store, run_id, runs.now())
        run = await runs.until_over(run_id)
        assert (run.state, run.cause) == (RunState.TERMINATED, "Requested through the API.")
        assert (
            runs.events(run_id)["terminated"]
            == "Requested through the API. Exported /out as artifact cache."
        )
        assert runs.log(run_id) == "up\nbye\n"
        assert (runs.folder / "artifacts" / "cache" / "kept").exists()
        assert handle is not None
        assert not is_alive(handle)

    runs.go(story)


def test_a_run_that_does_not_listen_is_killed_after_its_grace(runs: ControlledRuns) -> None:
    run_id = runs.create("trap 'echo no' TERM; echo up; while :; do sleep 1; done")

    async def story() -> None:
        await runs.until_logged(run_id, "up")
        await runs.until_state(run_id, RunState.RUNNING)
        terminate_run(runs.store, run_id, runs.now())
        await runs.until_logged(run_id, "no")
        assert runs.read(run_id).state is RunState.TERMINATING
        runs.ahead = timedelta(seconds=11)
        assert (await runs.until_over(run_id)).state is RunState.TERMINATED
        assert runs.log(run_id).count("no") == 1  # a second SIGTERM means haste to many

    runs.go(story)


def test_max_runtime_ends_a_run(runs: ControlledRuns) -> None:
    run_id = runs.create("sleep 600", max_runtime="1h")

    async def story() -> None:
        await runs.until_state(run_id, RunState.RUNNING)
        runs.ahead = timedelta(seconds=3500)
        await runs.controller.do_pass()
        assert runs.read(run_id).state is RunState.RUNNING
        runs.ahead = timedelta(seconds=3700)
        run = await runs.until_over(run_id)
        assert run.state is RunState.TERMINATED
        assert run.cause == "Exceeded max_runtime of 3600 s."

    runs.go(story)


def test_a_run_terminated_before_it_starts_never_does(
    runs: ControlledRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runs.create("echo up", ports=[find_free_port()])

    def import_all(*_: object) -> list[str]:
        terminate_run(runs.store, run_id, runs.now())
        return []

    monkeypatch.setattr("headrace.control.runs.run_steps.import_all", import_all)

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert (run.state, run.process) == (RunState.TERMINATED, None)
        assert runs.log(run_id) == ""

    runs.go(story)


def test_a_run_terminated_while_it_starts_is_killed(runs: ControlledRuns) -> None:
    started: list[ProcessHandle] = []

    class Launcher(ProcessLauncher):
        def start(self, plan: LaunchPlan) -> ProcessHandle:
            started.append(super().start(plan))
            terminate_run(runs.store, plan.name, runs.now())
            return started[0]

    runs.launcher = Launcher()
    runs.controller = runs.new_controller()
    run_id = runs.create("sleep 600")

    async def story() -> None:
        assert (await runs.until_over(run_id)).state is RunState.TERMINATED
        assert not is_alive(started[0])

    runs.go(story)


def test_secrets_are_in_the_environment_and_nowhere_else(
    runs: ControlledRuns, caplog: pytest.LogCaptureFixture
) -> None:
    with runs.store.begin() as tx:
        tx.put_secret("hub", b"sealed", runs.now())
    runs.secrets = {"hub": "open-sesame"}
    # The command itself has not got the value either.
    command = 'test "$HF_TOKEN" = "$(echo open sesame | tr " " -)" && echo right; sleep 600'
    run_id = runs.create(command, env={"HF_TOKEN": {"secret": "hub"}})

    async def story() -> None:
        await runs.until_logged(run_id, "right")
        run = await runs.until_state(run_id, RunState.RUNNING)
        assert run.process is not None
        tree = [psutil.Process(run.process.pid)]
        tree += tree[0].children(recursive=True)
        assert "open-sesame" not in str([process.cmdline() for process in tree])
        assert "open-sesame" not in str(run) + str(runs.events(run_id)) + caplog.text
        folder = Path(str(run.folder))
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert not any("open-sesame" in path.read_text() for path in files)

    runs.go(story)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_secret_that_cannot_be_had_fails_the_run(runs: ControlledRuns, is_there: bool) -> None:
    with runs.store.begin() as tx:
        tx.put_secret("hub", b"sealed", runs.now())
    run_id = runs.create("true", env={"HF_TOKEN": {"secret": "hub"}})

    def read(names: object) -> Mapping[str, str]:
        if is_there:
            raise StoreError("Secret 'hub' cannot be read.")
        return {}

    steps = RunSteps(
        runs.store,
        runs.launcher,
        read_secrets=read,
        runs=runs.folder / "runs",
        artifacts=runs.folder / "artifacts",
        uses_containers=False,
    )
    runs.controller = RunController(runs.store, steps)

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert run.state is RunState.FAILED
        assert "hub" in str(run.cause)

    runs.go(story)


def test_ports_are_the_declared_ones_where_they_are_free(runs: ControlledRuns) -> None:
    port = find_free_port()
    ids = [runs.create(f"echo at {port}; sleep 600", ports=[port]) for _ in range(2)]

    async def story() -> None:
        for run_id in ids:
            await runs.until_logged(run_id, "at")
            await runs.until_state(run_id, RunState.RUNNING)
        given = [runs.read(run_id).host_ports[port] for run_id in ids]
        assert port in given
        assert given[0] != given[1]
        assert [runs.log(run_id) for run_id in ids] == [f"at {one}\n" for one in given]

    runs.go(story)


@pytest.mark.parametrize("code", [0, 3])
def test_a_run_that_prints_a_lot_and_ends_at_once_leaves_a_bounded_log(
    runs: ControlledRuns, code: int
) -> None:
    runs.log_limit = LogLimit(4 * MIB, num_head_bytes=1)
    runs.controller = runs.new_controller()
    run_id = runs.create(f"head -c {20 * MIB} /dev/zero; echo the end; exit {code}")

    async def story() -> None:
        run = await runs.until_over(run_id)
        log = Path(run.folder or "") / "log"
        assert log.stat().st_size > 20 * MIB
        await runs.until(lambda: log.stat().st_blocks * 512 <= 4 * MIB)

    runs.go(story)
