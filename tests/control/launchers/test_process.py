import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from headrace.control.errors import LaunchError
from headrace.control.launchers.base import LaunchPlan, Step
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.processes.process_group import LAUNCH_NAME_VARIABLE, process_tree
from headrace.control.resources import ProcessHandle

DEADLINE_S = 60.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_S:g} s: {what}")
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """It is gone, or a zombie whom its parent (or a container's init) may never wait for."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Launched:
    def __init__(self, plan: LaunchPlan) -> None:
        self.plan = plan
        self.launcher = ProcessLauncher()
        self.handle = self.launcher.start(plan)

    @property
    def log(self) -> str:
        return (self.plan.folder / "log").read_text()

    def is_running(self) -> bool:
        return self.launcher.observe(self.handle, self.plan.folder).is_running

    def exit_code(self) -> int | None:
        wait_until(lambda: not self.is_running(), "the end")
        return self.launcher.observe(self.handle, self.plan.folder).exit_code


Launch = Callable[..., Launched]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[Launched] = []

    def start(*commands: str, **changes: object) -> Launched:
        steps = tuple(Step(command) for command in commands)
        plan = LaunchPlan(name=f"job-{len(started)}", steps=steps, folder=tmp_path / "job")
        started.append(Launched(replace(plan, **changes)))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for launched in started:
        launched.launcher.kill(launched.plan.name, launched.handle)
        launched.exit_code()


def test_runs_steps_in_turn_in_their_folders(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    word = Step("cd /; export WORD=hello  # a comment")
    job = launch(steps=(word, Step("pwd"), Step('echo "$WORD from $PWD"', tmp_path / "other")))
    assert job.exit_code() == 0
    assert job.log.splitlines() == [str(tmp_path / "job"), f"hello from {tmp_path / 'other'}"]


def test_a_step_that_fails_is_the_last_one(launch: Launch) -> None:
    job = launch("sh -c 'exit 7'", "echo never")
    assert job.exit_code() == 7
    assert job.log == ""


def test_gives_the_environment_and_puts_our_programs_first(launch: Launch) -> None:
    job = launch('echo "$WORD $PORT"; command -v python', env={"WORD": "hello", "PORT": "1234"})
    assert job.exit_code() == 0
    assert job.log.splitlines() == ["hello 1234", str(Path(sys.executable).parent / "python")]


def test_secrets_are_not_in_what_other_users_can_read(launch: Launch) -> None:
    job = launch("echo ready; exec sleep 60", env={"KEY": "sesame"})
    wait_until(lambda: "ready" in job.log, "the command's start")
    for process in process_tree(job.handle):
        assert "sesame" not in " ".join(process.cmdline())
    assert "sesame" not in repr(job.plan)
    assert (job.plan.folder / "log").stat().st_mode & 0o077 == 0


def test_terminate_lets_the_command_finish(launch: Launch) -> None:
    job = launch(
        "exec python -c 'import signal, sys, time\n"
        'def end(*_): print("ending", flush=True); sys.exit(3)\n'
        'signal.signal(signal.SIGTERM, end); print("ready", flush=True)\n'
        "while True: time.sleep(60)'"
    )
    wait_until(lambda: "ready" in job.log, "the handler")
    job.launcher.terminate(job.plan.name, job.handle)
    assert job.exit_code() == 3
    assert job.log.split() == ["ready", "ending"]


def test_runs_as_long_as_something_of_it_does(launch: Launch) -> None:
    """A shell dies of SIGTERM at once; the server that it started may still be draining."""
    job = launch("sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 0.05; done'; true")
    child = job.plan.folder / "child"
    wait_until(lambda: child.exists() and child.read_text().strip() != "", "the child's start")
    job.launcher.terminate(job.plan.name, job.handle)
    wait_until(lambda: has_ended(job.handle.pid), "leader's end")
    assert job.is_running()
    assert job.launcher.adopt(job.plan.name, job.handle)
    job.launcher.kill(job.plan.name, job.handle)
    wait_until(lambda: has_ended(int(child.read_text())), "the child's end")
    wait_until(lambda: not job.is_running(), "the group's end")  # its child is reaped by init


def test_kill_ends_a_stopped_group_at_once(launch: Launch) -> None:
    job = launch("sleep 60 & sleep 60")
    wait_until(lambda: len(process_tree(job.handle)) >= 3, "the children")
    os.killpg(job.handle.pid, signal.SIGSTOP)
    job.launcher.kill(job.plan.name, job.handle)
    assert job.exit_code() is None


def test_outlives_who_started_it_and_is_adopted(launch: Launch, tmp_path: Path) -> None:
    """Another process starts it and ends; we know it again, and learn its exit code."""
    code = (
        "import sys; from pathlib import Path\n"
        "from headrace.control.launchers.base import LaunchPlan, Step\n"
        "from headrace.control.launchers.process import ProcessLauncher\n"
        "plan = LaunchPlan('theirs', (Step('while [ ! -e end ]; do sleep 0.02; done; exit 5'),),"
        " Path(sys.argv[1]))\n"
        "handle = ProcessLauncher().start(plan); print(handle.pid, repr(handle.started_at))"
    )
    folder = tmp_path / "theirs"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    pid, started_at = done.stdout.split()
    handle = ProcessHandle(pid=int(pid), started_at=float(started_at))
    launcher = ProcessLauncher()
    try:
        assert launcher.adopt("theirs", handle)
        assert launcher.find("theirs", folder) == handle
        assert not launcher.adopt("ours", handle)
        assert launcher.find("ours", folder) is None
        assert launcher.observe(handle, folder).is_running
        (folder / "end").touch()
        wait_until(lambda: not launcher.observe(handle, folder).is_running, "its end")
        assert launcher.observe(handle, folder).exit_code == 5
        assert not launcher.adopt("theirs", handle)
    finally:
        launcher.kill("theirs", handle)


def test_a_recycled_pid_is_never_taken_for_the_group(launch: Launch, tmp_path: Path) -> None:
    job = launch("sleep 60")
    recycled = replace(job.handle, started_at=job.handle.started_at - 100)
    assert not job.launcher.adopt(job.plan.name, recycled)
    assert not job.launcher.observe(recycled, tmp_path).is_running
    job.launcher.kill(job.plan.name, recycled)
    assert job.is_running()


def test_says_what_could_not_be_started(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    plan = LaunchPlan("job", (Step("true"),), tmp_path / "file" / "folder")
    with pytest.raises(LaunchError, match=r"Cannot start job: .*Not a directory"):
        ProcessLauncher().start(plan)


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ({"env": {"X": "a\0b"}}, "null byte"),
        ({"env": {"X": "\ud800"}}, "surrogates not allowed"),
        ({"env": {"A=B": "1"}}, "illegal environment variable name"),
        ({"env": {"X": "x" * 200_000}}, "too long for this system"),
        ({"steps": (Step("echo a\0b"),)}, "null byte"),
        ({"steps": (Step("x" * 200_000),)}, "too long for this system"),
        ({"name": "a\0b"}, "null byte"),
    ],
    ids=str,
)
def test_what_the_system_refuses_is_a_launch_error(
    tmp_path: Path, plan: dict[str, object], reason: str
) -> None:
    whole = replace(LaunchPlan("job", (Step("true"),), tmp_path / "job"), **plan)  # type: ignore[arg-type]
    with pytest.raises(LaunchError, match=reason):
        ProcessLauncher().start(whole)


def test_what_cannot_be_recorded_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "process.json").mkdir()  # so that no file can take its place
    plan = LaunchPlan("job", (Step("echo $$ > pid; sleep 600"),), tmp_path)
    with pytest.raises(LaunchError, match="Cannot start"):
        ProcessLauncher().start(plan)
    wait_until(lambda: not any(_is_marked(process) for process in psutil.process_iter()), "its end")


def _is_marked(process: psutil.Process) -> bool:
    try:
        return bool(
            process.environ().get(LAUNCH_NAME_VARIABLE) == "job" and process.status() != "zombie"
        )
    except psutil.Error:
        return False
