"""``up``, ``status`` and ``down`` with real processes, in homes of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from headrace.cli.main import build_app
from headrace.testing.certificates import write_certificate
from headrace.testing.processes.platform_process import PlatformProcess

pytestmark = pytest.mark.xdist_group("platforms")

REVISION = """\
run: python -m headrace.testing.servers.mock_server --port 3000 --name $HEADRACE_LAUNCH
ports: [3000]
env: {HF_TOKEN: {secret: hub}}
"""
GATEWAY = "enabled: true\ntargets: [{number: 1, port: 3000, weight: 100}]\n"
RUN = "name: job\nrun: echo up; sleep 600\n"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[PlatformProcess]:
    """Not started yet; stopped at the end, whatever runs by then."""
    home = tmp_path / "home"
    home.mkdir()
    platform = PlatformProcess(home, "--no-containers", cwd=tmp_path)
    yield platform
    platform.run("down")
    assert processes_of(home) == []


def processes_of(home: Path) -> list[str]:
    """Command lines of all that runs for this home, or was started by what does."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HEADRACE_HOME") == str(home):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def asks_well(platform: PlatformProcess) -> bool:
    try:
        with urllib.request.urlopen(f"{platform.url}/words/v1/models", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def states(platform: PlatformProcess) -> dict[str, str]:
    shown = json.loads(platform.try_run("status", "--json").stdout)
    return {part["name"]: part["state"] for part in shown}


@pytest.mark.slow
def test_the_life_of_a_platform(platform: PlatformProcess, tmp_path: Path) -> None:
    """One test, because to start one takes seconds: up, serve, survive, hand over, down."""
    for name, text in (("r.yaml", REVISION), ("g.yaml", GATEWAY), ("run.yaml", RUN)):
        (tmp_path / name).write_text(text)
    told = platform.up()
    assert f"http://localhost:{platform.port}\n" in told
    assert f"http://127.0.0.1:{platform.api_port}" in told
    assert states(platform) == {
        "gateway": "running", "control plane": "running", "supervisor": "running",
    }  # fmt: skip
    for name in ("credentials.json", "platform.json", "secret.key", "state.db"):
        assert (platform.home / "control" / name).stat().st_mode & 0o777 == 0o600
    assert (platform.home / "control").stat().st_mode & 0o777 == 0o700

    second = platform.try_up()
    assert second.returncode == 1
    assert second.stderr.startswith(f"Error: Already running in {platform.home} (pid ")
    assert second.stderr.count("\n") == 1

    secret = "open-sesame-7"
    platform.run("secret", "create", "hub", stdin=secret)
    platform.run("service", "create", "words")
    platform.run("revision", "create", "-s", "words", "-f", "r.yaml")
    platform.run("gateway", "update", "-s", "words", "-f", "g.yaml")
    run_id = platform.run_json("run", "create", "-f", "run.yaml")["run_id"]
    platform.wait_running("words", 1)
    platform.wait_until(lambda: asks_well(platform), "the service answers")
    last = platform.run_json("service", "requests", "words")[-1]
    assert (last["path"], last["status"], last["revision"]) == ("/v1/models", 200, 1)

    def replica_pid() -> int:
        [replica] = platform.run_json("revision", "read", "-s", "words", "-n", "1")["replicas"]
        assert replica["state"] == "ready"
        return int(replica["pid"])

    def run_pid() -> int:
        run = platform.run_json("run", "read", run_id)
        assert run["state"] == "running"
        return int(run["pid"])

    kept = (replica_pid(), run_pid(), platform.pid_of("gateway"))
    os.kill(first := platform.pid_of("control"), signal.SIGKILL)
    wait_until(lambda: platform.pid_of("control") != first, "the control plane is started again")
    wait_until(platform.api_answers, "it answers")
    assert platform.try_run("service", "list").returncode == 0
    assert (replica_pid(), run_pid(), platform.pid_of("gateway")) == kept

    parting = platform.run("down", "--keep-serving")
    assert "Gateway, replicas and runs keep running" in parting
    again = platform.run("down", "--keep-serving")
    assert again.splitlines()[-1] == f"The control plane is not running in {platform.home}."
    assert asks_well(platform)
    assert states(platform) == {
        "gateway": "running", "control plane": "stopped", "supervisor": "stopped",
    }  # fmt: skip
    assert platform.try_run("status").returncode == 1
    refused = platform.try_run("service", "list")
    assert refused.stderr.startswith(
        "Error: Cannot connect to the control plane at http://127.0.0.1:"
    )
    other = platform.try_run("up", "-d", "--port", "1", "--admin-port", "2", "--api-port", "3")
    assert other.returncode == 1
    assert "The gateway is already running with other options" in other.stderr
    assert f"--port {platform.port} " in other.stderr

    told = platform.up()
    assert f"The gateway is already running (pid {kept[2]})." in told
    assert (replica_pid(), run_pid(), platform.pid_of("gateway")) == kept
    assert asks_well(platform)

    token = json.loads((platform.home / "control" / "credentials.json").read_text())["token"]
    for word in (secret, token):
        assert word not in platform.logs()
        assert word not in "\n".join(processes_of(platform.home))

    ended = platform.run("down")
    assert "Stopped the control plane.\n" in ended
    assert "Stopped the gateway.\n" in ended
    assert "Stopping 1 replica and 1 run ...\n" in ended
    assert processes_of(platform.home) == []
    assert platform.run("down") == f"Nothing is running in {platform.home}.\n"
    assert set(states(platform).values()) == {"stopped"}
    assert "Start it with `headrace up`." in platform.try_run("status").stderr

    platform.up()  # what is deployed comes back, and what was stopped has ended
    platform.wait_running("words", 1)
    platform.wait_until(lambda: asks_well(platform), "the service answers again")
    assert replica_pid() != kept[0]
    with platform.client() as client:
        platform.wait_until(lambda: client.run(run_id).state == "terminated", "the run ended")
    assert platform.run_json("run", "read", run_id)["cause"] == "Platform shutdown."


@contextmanager
def foreground(platform: PlatformProcess) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "up", *platform.up_options],
        env={**os.environ, "HEADRACE_HOME": str(platform.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("Ctrl-C"):
                break
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.wait()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name
)
def test_in_the_foreground_a_signal_stops_all(
    platform: PlatformProcess, number: signal.Signals
) -> None:
    with foreground(platform) as process:
        wait_until(lambda: states(platform)["supervisor"] == "running", "it watches")
        process.send_signal(number)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert "Stopped the control plane.\nStopped the gateway.\n" in output
    assert processes_of(platform.home) == []


def test_another_command_may_stop_the_one_in_the_foreground(platform: PlatformProcess) -> None:
    with foreground(platform) as process:
        wait_until(lambda: states(platform)["supervisor"] == "running", "it watches")
        platform.run("down")
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert output.splitlines()[-1] == "Another command took over supervision; exiting."


@pytest.mark.parametrize("which", ["port", "admin_port", "api_port"])
def test_a_taken_port_is_one_clear_line_and_nothing_is_left(
    platform: PlatformProcess, which: str
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", getattr(platform, which)))
        holder.listen()
        refused = platform.try_up()
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"Error: Cannot listen on 127.0.0.1 port {getattr(platform, which)} "
    )
    assert "Address already in use" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert processes_of(platform.home) == []


def test_a_database_that_cannot_be_had_is_told_without_its_password(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    url = "postgresql://user:sesame@127.0.0.1:9/nothing"
    platform = PlatformProcess(home, "--no-containers", env={"HEADRACE_DATABASE_URL": url})
    refused = platform.try_up()
    assert refused.returncode == 1
    assert "PostgreSQL database 'nothing' at 127.0.0.1:9 cannot be used" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "sesame" not in refused.stdout + refused.stderr + platform.logs()
    assert processes_of(home) == []


def test_a_home_that_cannot_be_had_is_one_clear_line(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.touch()
    refused = PlatformProcess(home, cwd=tmp_path).try_up()
    assert refused.returncode == 1
    assert refused.stderr == (
        f"Error: Cannot use {home} (Not a directory). Set HEADRACE_HOME to a writable folder.\n"
    )


def test_two_that_start_at_once_are_one(platform: PlatformProcess) -> None:
    command = [sys.executable, "-m", "headrace", "up", "-d", *platform.up_options]
    both = [
        subprocess.Popen(
            command,
            env={**os.environ, "HEADRACE_HOME": str(platform.home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=180)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], told
    [refusal] = [text for text in told if text]
    assert refusal.startswith(
        ("Error: Another `headrace up` is starting", "Error: Already running")
    )
    supervisors = [
        line for line in processes_of(platform.home) if "headrace.control.supervisor" in line
    ]
    assert len(supervisors) == 1


def test_certificates_are_checked_before_anything_is_started(tmp_path: Path) -> None:
    files = write_certificate(tmp_path)
    home = tmp_path / "home"
    for prefix in ("--", "--api-"):
        cert, key = f"{prefix}ssl-certfile", f"{prefix}ssl-keyfile"
        for options, told in (
            ((cert, str(files.certfile)), f"{cert} and {key} must be given together"),
            ((cert, "nowhere", key, str(files.keyfile)), f"Cannot read {cert} nowhere"),
            ((cert, str(files.keyfile), key, str(files.certfile)), f"Cannot use {cert} "),
        ):
            environment = {"HEADRACE_HOME": str(home)}
            refused = CliRunner(env=environment).invoke(build_app(), ["up", "-d", *options])
            assert refused.exit_code == 1
            assert refused.stderr.startswith(f"Error: {told}")
            assert refused.stderr.count("\n") == 1
    assert not home.exists()


def test_who_opens_the_gateway_is_warned_and_no_part_gets_credentials_it_does_not_use(
    tmp_path: Path,
) -> None:
    """One test, because to start a platform takes seconds."""
    home = tmp_path / "home"
    home.mkdir()
    env = {"AWS_SECRET_ACCESS_KEY": "sesame", "HEADRACE_API_KEY": "sesame"}
    platform = PlatformProcess(home, "--no-containers", "--host", "0.0.0.0", cwd=tmp_path, env=env)
    try:
        told = platform.try_up()
        assert told.returncode == 0
        assert told.stderr.startswith("Warning: the gateway listens on 0.0.0.0. ")
        assert told.stderr.count("\n") == 1
        got = {
            name: set(psutil.Process(platform.pid_of(name)).environ()) & set(env)
            for name in ("gateway", "control", "supervisor")
        }
        # What a manifest with inherit_env passes on, the control plane and its supervisor have.
        assert got == {
            "gateway": set(),
            "control": {"AWS_SECRET_ACCESS_KEY"},
            "supervisor": {"AWS_SECRET_ACCESS_KEY"},
        }
        assert home.stat().st_mode & 0o777 == 0o700
    finally:
        platform.run("down")
