"""The client's command line, and containers that a real runtime starts."""

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.control.launchers.base import ContainerLimits, LaunchPlan, Step
from headrace.control.launchers.container import ContainerLauncher, container_command, find_runtime
from headrace.control.launchers.process import ProcessLauncher
from headrace.testing.processes.container_runtime import ContainerRuntime

DEADLINE_S = 60.0


def plan(folder: Path, image: str | None) -> LaunchPlan:
    return LaunchPlan(
        name="openllm-1-abcde",
        steps=(Step("echo hello", Path("/code")), Step("exec serve")),
        folder=folder,
        env={"PORT": "3000", "TOKEN": "sesame"},
        image=image,
        mounts={"/code": folder / "code"},
    )


def test_the_command_line_holds_no_value_of_the_environment(tmp_path: Path) -> None:
    command = container_command("/usr/bin/docker", plan(tmp_path, "torch:2.2"))
    assert command[:2] == ["/usr/bin/docker", "run"]
    assert "sesame" not in " ".join(command)
    assert command[command.index("--name") + 1] == "headrace-openllm-1-abcde"
    assert [command[i + 1] for i, word in enumerate(command) if word == "--env"] == [
        "PORT",
        "TOKEN",
    ]
    assert f"{tmp_path / 'code'}:/code" in command
    image = command.index("torch:2.2")
    assert command[image + 1] == "-c"
    assert command[-1] == "cd /code || exit 1\necho hello\n(exit $?) || exit\nexec serve\n"


def options_of(runtime: str, folder: Path, limits: ContainerLimits) -> list[str]:
    command = container_command(runtime, replace(plan(folder, "torch:2.2"), limits=limits))
    return command[: command.index("torch:2.2")]


def test_capabilities_are_dropped_but_for_those_that_stay_in_the_container(tmp_path: Path) -> None:
    for runtime in ("/usr/bin/docker", "/usr/bin/podman"):
        options = options_of(runtime, tmp_path, ContainerLimits())
        assert options[options.index("--security-opt") + 1] == "no-new-privileges"
        assert options[options.index("--cap-drop") + 1] == "ALL"
        added = {options[i + 1] for i, word in enumerate(options) if word == "--cap-add"}
        assert added == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"}
        assert "--privileged" not in options


def test_limits_are_the_runtimes_own_options(tmp_path: Path) -> None:
    limits = ContainerLimits(num_cores=0.5, memory_bytes=2**30)
    options = options_of("/usr/bin/docker", tmp_path, limits)
    assert options[options.index("--cpus") + 1] == "0.5"
    assert options[options.index("--memory") + 1] == "1073741824b"
    # Docker would not start it at all.
    assert "--cpus" not in options_of("docker", tmp_path, ContainerLimits(num_cores=100_000))
    without = options_of("docker", tmp_path, ContainerLimits())
    assert {"--cpus", "--memory", "--gpus", "--device"}.isdisjoint(without)


def test_gpus_are_named_as_each_runtime_wants_them(tmp_path: Path) -> None:
    limits = ContainerLimits(gpus=("GPU-a", "GPU-b"))
    docker = options_of("/usr/bin/docker", tmp_path, limits)
    assert docker[docker.index("--gpus") + 1] == '"device=GPU-a,GPU-b"'
    podman = options_of("/usr/bin/podman", tmp_path, limits)
    assert [podman[i + 1] for i, word in enumerate(podman) if word == "--device"] == [
        "nvidia.com/gpu=GPU-a",
        "nvidia.com/gpu=GPU-b",
    ]


def test_without_an_image_it_runs_on_the_host(tmp_path: Path) -> None:
    host = ProcessLauncher()
    launcher = ContainerLauncher("/nonexistent/docker", host)
    on_host = LaunchPlan("job", (Step("sleep 60"),), tmp_path)
    handle = launcher.start(on_host)
    assert launcher.adopt("job", handle)
    launcher.kill("job", handle)
    while launcher.observe(handle, tmp_path).is_running:
        pass


def test_no_runtime_that_answers_is_no_runtime(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_runtime() is None
    (tmp_path / "docker").write_text("#!/bin/sh\necho no daemon >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    assert find_runtime() is None


@pytest.fixture
def runtime(
    container_runtime: ContainerRuntime, monkeypatch: pytest.MonkeyPatch
) -> ContainerRuntime:
    """With its variables in the environment, from which the launcher's clients inherit them."""
    for name, value in container_runtime.env.items():
        monkeypatch.setenv(name, value)
    return container_runtime


class Contained:
    def __init__(self, name: str, script: str, runtime: ContainerRuntime, folder: Path) -> None:
        self.launcher = ContainerLauncher(runtime.path, ProcessLauncher())
        self.plan = LaunchPlan(
            name,
            (Step(script),),
            folder / name,
            {"WORD": "it"},
            image=runtime.image,
            mounts={"/in": folder},
        )
        self.handle = self.launcher.start(self.plan)

    def log(self) -> str:
        return (self.plan.folder / "log").read_text()

    def wait_log(self, word: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while word not in self.log():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def exit_code(self) -> int | None:
        deadline = time.monotonic() + DEADLINE_S
        while (seen := self.launcher.observe(self.handle, self.plan.folder)).is_running:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        return seen.exit_code


def test_runs_in_a_container(runtime: ContainerRuntime, tmp_path: Path) -> None:
    (tmp_path / "mounted").touch()
    job = Contained("test-runs", "echo in $WORD; ls /in; exit 3", runtime, tmp_path)
    assert job.exit_code() == 3, job.log()
    assert "in it" in job.log()
    assert "mounted" in job.log()


def test_root_has_few_capabilities_and_gains_none(
    runtime: ContainerRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(other, 12345, 12345)
    script = (
        "cat /proc/self/status; env; touch /in/other/new && echo written; "
        "mkdir /made && chown 7 /made && echo owned"
    )
    job = Contained("test-capabilities", script, runtime, tmp_path)
    assert job.exit_code() == 0, job.log()
    status = dict(line.split(":", 1) for line in job.log().splitlines() if ":" in line)
    chown, dac_override, fowner, kill, setgid, setuid = 0, 1, 3, 5, 6, 7
    allowed = sum(1 << bit for bit in (chown, dac_override, fowner, kill, setgid, setuid))
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[name], 16) & ~allowed == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert "written" in job.log()
    assert "owned" in job.log()
    assert "sesame" not in job.log()


def test_terminate_lets_the_container_finish(runtime: ContainerRuntime, tmp_path: Path) -> None:
    script = "trap 'echo ending; exit 4' TERM; echo ready; while :; do sleep 0.05; done"
    job = Contained("test-ends", script, runtime, tmp_path)
    job.wait_log("ready")
    job.launcher.terminate("test-ends", job.handle)
    assert job.exit_code() == 4, job.log()
    assert "ending" in job.log()


def test_kill_leaves_no_container(runtime: ContainerRuntime, tmp_path: Path) -> None:
    job = Contained("test-killed", "echo ready; while :; do sleep 0.05; done", runtime, tmp_path)
    job.wait_log("ready")
    job.launcher.kill("test-killed", job.handle)
    assert job.exit_code() is None
    assert "headrace-test-killed" not in runtime.run("ps", "--all")


def test_what_runs_in_a_container_is_seen_as_its_own(tmp_path: Path) -> None:
    """With a runtime that tells pids as it is told, since only the processes matter."""
    command = container_command("docker", plan(tmp_path, "torch:2.2"))
    words = command[command.index("torch:2.2") + 1 :]
    runtime, pid = tmp_path / "docker", tmp_path / "pid"
    runtime.write_text(f'#!/bin/sh\n[ "$1" = inspect ] && [ "$4" = headrace-it ] && cat {pid}\n')
    runtime.chmod(0o755)
    launcher = ContainerLauncher(str(runtime), ProcessLauncher())
    client = launcher.start(LaunchPlan("it", (Step("sleep 60"),), tmp_path / "it"))
    first = subprocess.Popen(["/bin/sh", *words[:-1], "sleep 60; true"], start_new_session=True)
    try:
        pid.write_text(f"{first.pid}\n")
        deadline = time.monotonic() + 30
        while not {first.pid, client.pid} < {p.pid for p in launcher.processes("it", client)}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        pid.write_text(f"{os.getpid()}\n")  # as a runtime in a virtual machine might say
        assert os.getpid() not in {p.pid for p in launcher.processes("it", client)}
        assert client.pid in {p.pid for p in launcher.processes("other", client)}
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        launcher.kill("it", client)


def test_a_container_is_inspected_once_and_processes_on_the_host_never(tmp_path: Path) -> None:
    """With the runtime of the test above, which also counts how often it is asked."""
    command = container_command("docker", plan(tmp_path, "torch:2.2"))
    words = command[command.index("torch:2.2") + 1 :]
    runtime, pid, asked = tmp_path / "docker", tmp_path / "pid", tmp_path / "asked"
    runtime.write_text(
        f'#!/bin/sh\n[ "$1" = run ] && sleep 60\n[ "$1" = inspect ] || exit 0\n'
        f'echo "$4" >> {asked}\n[ "$4" = headrace-it ] && cat {pid}\n'
    )
    runtime.chmod(0o755)
    launcher = ContainerLauncher(str(runtime), ProcessLauncher())
    handles = {
        name: launcher.start(LaunchPlan(name, (Step("sleep 60"),), tmp_path / name, image=image))
        for name, image in (("it", "torch:2.2"), ("host", None))
    }
    first = subprocess.Popen(["/bin/sh", *words[:-1], "sleep 60; true"], start_new_session=True)

    def pids_of(using: ContainerLauncher, name: str) -> set[int]:
        return {process.pid for process in using.process_trees(handles)[name]}

    try:
        pid.write_text(f"{first.pid}\n")
        deadline = time.monotonic() + DEADLINE_S
        while not {first.pid, handles["it"].pid} < pids_of(launcher, "it"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        asked.write_text("")
        assert first.pid in pids_of(launcher, "it")
        assert handles["host"].pid in pids_of(launcher, "host")
        assert asked.read_text() == ""
        pid.write_text(f"{os.getpid()}\n")  # as a runtime in a virtual machine might say
        new = ContainerLauncher(str(runtime), ProcessLauncher())
        assert os.getpid() not in pids_of(new, "it")
        assert asked.read_text() == "headrace-it\n"
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        for name, handle in handles.items():
            launcher.kill(name, handle)
