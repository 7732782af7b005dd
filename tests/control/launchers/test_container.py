"""The client's command line; a runtime is used only where one answers."""

import subprocess
from pathlib import Path

import pytest

from headrace.control.launchers.base import LaunchPlan, Step
from headrace.control.launchers.container import ContainerLauncher, container_command, find_runtime
from headrace.control.launchers.process import ProcessLauncher


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
    assert command[image + 1 :] == [
        "-c",
        "(\ncd /code || exit 1\necho hello\n) || exit $?\nexec serve\n",
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


@pytest.mark.skipif(find_runtime() is None, reason="no container runtime answers here")
def test_runs_in_a_container(tmp_path: Path) -> None:
    """With an image made of nothing but the host's busybox, so that nothing is fetched."""
    runtime = find_runtime()
    assert runtime is not None
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.skip("no static busybox to make an image of")
    (tmp_path / "Dockerfile").write_text(
        "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n"
    )
    (tmp_path / "busybox").write_bytes(busybox.read_bytes())
    (tmp_path / "busybox").chmod(0o755)
    subprocess.run([runtime, "build", "-t", "headrace-test", tmp_path], check=True)
    launcher = ContainerLauncher(runtime, ProcessLauncher())
    job = LaunchPlan(
        "job",
        (Step("echo in $WORD; exit 3"),),
        tmp_path / "job",
        {"WORD": "it"},
        {},
        "headrace-test",
    )
    handle = launcher.start(job)
    while (seen := launcher.observe(handle, job.folder)).is_running:
        pass
    assert seen.exit_code == 3
    assert "in it" in (job.folder / "log").read_text()
