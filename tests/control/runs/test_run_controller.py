"""With real processes, a real git repository and real artifacts."""

import asyncio
import json
import os
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from headrace.control.errors import StoreError
from headrace.control.launchers.base import LaunchPlan
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.operations.runs import (
    create_run,
    read_run,
    reproduce_run,
    terminate_run,
)
from headrace.control.processes.ports import find_free_port
from headrace.control.processes.process_group import is_alive
from headrace.control.resources import RUN_CHANGES, ProcessHandle, Run, RunState
from headrace.control.runs.run_controller import RunController
from headrace.control.runs.run_steps import RunSteps
from headrace.control.store.store import Store

TIMEOUT_S = 20.0
SERVER = """\
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["MODEL_NAME"].encode())
    def log_message(self, *arguments):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
VLLM_RUN = """\
# vllm-run.yaml
name: vllm-server
description: LLM server with vLLM and Prometheus monitoring
tags:
  - vllm
resources: # Resource requirements
  cluster: vessl-gcp-oregon
  preset: gpu-l4-small-spot
image: quay.io/vessl-ai/torch:2.3.1-cuda12.1-r5 # Container image
import: # Code, data, or model to import
  /code/:
    git:
      url: file://{repository}
      ref: main
run:
  - command: |- # Command to run the API server
      python server.py {second} &
      python server.py {first}
    workdir: /code/vllm-run
ports: # Endpoint configuration
  - name: vllm
    type: http
    port: {first}
  - name: prometheus
    type: http
    port: {second}
env: # Environment variables
  MODEL_NAME: hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4
  HF_TOKEN: HF_TOKEN # Your Huggingface API token
"""


class Runs:
    """A store, a launcher, a clock and a controller over a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open(f"sqlite:///{folder}/state.db")
        self.launcher = ProcessLauncher()
        self.secrets: Mapping[str, str] = {}
        self.ahead = timedelta()
        self.controller = self.new_controller()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def new_controller(self) -> RunController:
        steps = RunSteps(
            self.store,
            self.launcher,
            read_secrets=lambda names: {name: self.secrets[name] for name in names},
            runs=self.folder / "runs",
            artifacts=self.folder / "artifacts",
            uses_containers=False,
            now=self.now,
        )
        return RunController(self.store, steps)

    def create(self, run: str, **keys: Any) -> str:
        text = json.dumps({"name": "job", "run": run, **keys})
        return self.create_from(text)

    def create_from(self, text: str) -> str:
        return create_run(self.store, text, "run.yaml", self.now(), folder=self.folder).run_id

    def read(self, run_id: str) -> Run:
        return read_run(self.store, run_id)

    def log(self, run_id: str) -> str:
        path = self.folder / "runs" / run_id / "log"
        return path.read_text() if path.exists() else ""

    def events(self, run_id: str) -> dict[str, str]:
        """Why, by what."""
        with self.store.read() as reading:
            return {event.what: event.why for event in reading.events(run_id=run_id)}

    @asynccontextmanager
    async def controlled(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.controller.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.01)

    async def until_state(self, run_id: str, *states: RunState) -> Run:
        await self.until(lambda: self.read(run_id).state in states)
        return self.read(run_id)

    async def until_over(self, run_id: str) -> Run:
        await self.until(lambda: not RUN_CHANGES[self.read(run_id).state])
        return self.read(run_id)

    async def until_logged(self, run_id: str, text: str) -> None:
        await self.until(lambda: text in self.log(run_id))

    def close(self) -> None:
        with self.store.read() as reading:
            for run in reading.runs():
                if run.process is not None:
                    self.launcher.kill(run.run_id, run.process)
        self.store.close()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path)
    yield runs
    runs.close()


@pytest.fixture
def go(runs: Runs) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Runs a test's coroutine with the controller beside it."""

    def go(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            async with runs.controlled():
                await story()

        asyncio.run(whole())

    return go


def test_a_run_that_ends_well_is_completed(runs: Runs, go: Any) -> None:
    run_id = runs.create("echo hello; echo $GREETING", env={"GREETING": "bonjour"})

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert (run.state, run.exit_code, run.cause) == (RunState.COMPLETED, 0, None)
        assert runs.log(run_id) == "hello\nbonjour\n"
        events = list(runs.events(run_id))
        assert events == ["created", "importing", "running", "exporting", "completed"]
        assert Path(run.folder or "").stat().st_mode & 0o777 == 0o700

    go(story)


def test_a_run_that_fails_says_how_its_log_ended(runs: Runs, go: Any) -> None:
    run_id = runs.create("for n in 1 2 3; do echo line $n; done; exit 7")

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert (run.state, run.exit_code) == (RunState.FAILED, 7)
        assert run.cause == "Exited with code 7. Its log ends with:\nline 1\nline 2\nline 3"

    go(story)


def test_what_a_failed_run_made_is_kept(runs: Runs, go: Any) -> None:
    export = {"/out/": "artifact://results"}
    run_id = runs.create("echo 1 >/out/numbers; exit 1", export=export)

    async def story() -> None:
        assert (await runs.until_over(run_id)).state is RunState.FAILED
        assert (runs.folder / "artifacts" / "results" / "numbers").read_text() == "1\n"
        assert "Kept /out as artifact results" in runs.events(run_id)["failed"]

    go(story)


def test_an_export_that_cannot_be_kept_fails_the_run(runs: Runs, go: Any) -> None:
    run_id = runs.create("rmdir /out", export={"/out/": "artifact://results"})

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert (run.state, run.exit_code) == (RunState.FAILED, 0)
        assert run.cause == "export /out: the commands left no such folder."

    go(story)


def test_an_import_that_is_not_there_fails_the_run(runs: Runs, go: Any) -> None:
    run_id = runs.create("true", **{"import": {"/data": "./nothing"}})

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert run.state is RunState.FAILED
        assert run.cause == f"import /data: there is no {runs.folder}/nothing on this machine."
        assert run.process is None

    go(story)


def test_a_terminated_run_gets_sigterm_and_what_it_made_is_kept(runs: Runs, go: Any) -> None:
    command = "trap 'echo bye; echo 1 >/out/kept; exit 0' TERM; echo up; sleep 600 & wait"
    run_id = runs.create(command, export={"/out": "artifact://cache"})

    async def story() -> None:
        await runs.until_logged(run_id, "up")
        handle = runs.read(run_id).process
        terminate_run(runs.store, run_id, runs.now())
        run = await runs.until_over(run_id)
        assert (run.state, run.cause) == (RunState.TERMINATED, "Asked for.")
        assert runs.log(run_id) == "up\nbye\n"
        assert (runs.folder / "artifacts" / "cache" / "kept").exists()
        assert handle is not None
        assert not is_alive(handle)

    go(story)


def test_a_run_that_does_not_listen_is_killed_after_its_grace(runs: Runs, go: Any) -> None:
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

    go(story)


def test_max_runtime_ends_a_run(runs: Runs, go: Any) -> None:
    run_id = runs.create("sleep 600", max_runtime="1h")

    async def story() -> None:
        await runs.until_state(run_id, RunState.RUNNING)
        runs.ahead = timedelta(seconds=3500)
        await runs.controller.do_pass()
        assert runs.read(run_id).state is RunState.RUNNING
        runs.ahead = timedelta(seconds=3700)
        run = await runs.until_over(run_id)
        assert run.state is RunState.TERMINATED
        assert run.cause == "It ran longer than its max_runtime, 3600 s."

    go(story)


def test_a_run_terminated_before_it_starts_never_does(
    runs: Runs, go: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runs.create("echo up", ports=[find_free_port()])

    def bring_in(*_: object) -> list[str]:
        terminate_run(runs.store, run_id, runs.now())
        return []

    monkeypatch.setattr("headrace.control.runs.run_steps.bring_in", bring_in)

    async def story() -> None:
        run = await runs.until_over(run_id)
        assert (run.state, run.process) == (RunState.TERMINATED, None)
        assert runs.log(run_id) == ""

    go(story)


def test_a_run_terminated_while_it_starts_is_killed(runs: Runs, go: Any) -> None:
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

    go(story)


def test_secrets_are_in_the_environment_and_nowhere_else(
    runs: Runs, go: Any, caplog: pytest.LogCaptureFixture
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

    go(story)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_secret_that_cannot_be_had_fails_the_run(runs: Runs, go: Any, is_there: bool) -> None:
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

    go(story)


def test_ports_are_the_declared_ones_where_they_are_free(runs: Runs, go: Any) -> None:
    port = find_free_port()
    ids = [runs.create(f"echo at {port}; sleep 600", ports=[port]) for _ in range(2)]

    async def story() -> None:
        for run_id in ids:
            await runs.until_logged(run_id, "at")
        given = [runs.read(run_id).host_ports[port] for run_id in ids]
        assert port in given
        assert given[0] != given[1]
        assert [runs.log(run_id) for run_id in ids] == [f"at {one}\n" for one in given]

    go(story)


def test_a_new_controller_goes_on_where_the_last_one_ended(runs: Runs) -> None:
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
    runs: Runs, is_over: bool
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
            assert "found again" in runs.events(run_id)["running"]

    asyncio.run(go_on())
    assert len(started) == 1
    assert runs.log(run_id) == "up\n"


def test_a_process_that_got_the_pid_later_is_not_the_run(runs: Runs, go: Any) -> None:
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
        assert "without an exit code" in str(run.cause)

    try:
        go(story)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_database_that_is_away_for_a_while_fails_no_run(
    runs: Runs, go: Any, monkeypatch: pytest.MonkeyPatch
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

    go(story)


def test_a_run_whose_spec_cannot_be_read_hurts_no_other(
    runs: Runs, go: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good = runs.create("echo up")
    bad = replace(runs.read(good), run_id="1", spec={"nonsense": True})
    with runs.store.begin() as tx:
        tx.add_run(bad)

    async def story() -> None:
        run = await runs.until_over("1")
        assert run.cause == "ValidationError; the control plane's log has the details"
        assert (await runs.until_over(good)).state is RunState.COMPLETED

    go(story)
    assert "ValidationError" in caplog.text


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return str(answer.read().decode())


def answers(port: int) -> bool:
    try:
        return bool(fetch(port))
    except OSError:
        return False


def test_the_documents_run_is_served_and_reproduced(runs: Runs, go: Any, tmp_path: Path) -> None:
    """vllm-run.yaml word for word, but for the address of the repository and the server in it."""
    repository = tmp_path / "repository"
    (repository / "vllm-run").mkdir(parents=True)
    (repository / "vllm-run" / "server.py").write_text(SERVER)
    for arguments in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-qm", "server")):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", "-C", str(repository), *identity, *arguments], check=True)
    first = find_free_port()
    second = find_free_port({first})
    run_id = runs.create_from(VLLM_RUN.format(repository=repository, first=first, second=second))
    model = "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4"

    async def story() -> None:
        await runs.until_state(run_id, RunState.RUNNING)
        run = runs.read(run_id)
        assert run.host_ports == {first: first, second: second}
        await runs.until(lambda: answers(first) and answers(second))
        assert await asyncio.to_thread(fetch, first) == model
        assert f"Imported file://{repository} at " in runs.events(run_id)["running"]

        again_id = reproduce_run(runs.store, run_id, runs.now()).run_id
        await runs.until_state(again_id, RunState.RUNNING)
        again = runs.read(again_id)
        assert again.spec == run.spec
        assert again.reproduced_from == run_id
        other = again.host_ports[first]
        assert other not in (first, second)
        await runs.until(lambda: answers(other))
        assert await asyncio.to_thread(fetch, other) == model

        for one in (run_id, again_id):
            terminate_run(runs.store, one, runs.now())
        for one in (run_id, again_id):
            assert (await runs.until_over(one)).state is RunState.TERMINATED
        assert not answers(first)
        assert not answers(other)

    go(story)
