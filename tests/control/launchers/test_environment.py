"""The environment of launched processes, as they print it themselves."""

import json
import sys
import time
from pathlib import Path

import pytest

from headrace.control.launchers.base import LaunchPlan, Step
from headrace.control.launchers.container import ContainerLauncher
from headrace.control.launchers.environment import OWN_CREDENTIALS, inherited_environment
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.processes.process_group import LAUNCH_NAME_VARIABLE

DEADLINE_S = 60.0
CREDENTIALS = {
    "AWS_SECRET_ACCESS_KEY": "sesame",
    "AWS_ACCESS_KEY_ID": "sesame",
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key.json",
    "AZURE_CLIENT_SECRET": "sesame",
    "OPENAI_API_KEY": "sesame",
    "GITHUB_TOKEN": "sesame",
    "HF_TOKEN": "sesame",
    "HUGGING_FACE_HUB_TOKEN": "sesame",
    "VLLM_API_KEY": "sesame",
    "UV_INDEX_MINE_PASSWORD": "sesame",
    "PIP_INDEX_URL": "https://me:sesame@example.com/simple",
    "HTTPS_PROXY": "http://me:sesame@proxy:3128",
    "SSH_AUTH_SOCK": "/run/agent",
    "DATABASE_URL": "postgresql://me:sesame@db/mine",
    "KUBECONFIG": "/home/me/.kube/config",
    "SOMETHING_ELSE": "of the operator's",
}
NEEDED = {
    "HOME": "/home/me",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "Asia/Seoul",
    "TMPDIR": "/tmp",
    "HEADRACE_HOME": "/home/me/.headrace",
    "HF_HOME": "/models",
    "HF_HUB_OFFLINE": "1",
    "HF_ENDPOINT": "https://hub.example.com",
    "CUDA_VISIBLE_DEVICES": "0",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "LD_LIBRARY_PATH": "/opt/cuda/lib64",
    "OMP_NUM_THREADS": "4",
    "TOKENIZERS_PARALLELISM": "false",
    "http_proxy": "http://proxy:3128",
    "NO_PROXY": "localhost",
    "PIP_INDEX_URL": "https://example.com/simple",
    "SSL_CERT_FILE": "/etc/ca.pem",
    "VIRTUAL_ENV": "/home/me/.venv",
    "XDG_CACHE_HOME": "/home/me/.cache",
    "PYTHONPATH": "/home/me/src",
}
OWN = dict.fromkeys(OWN_CREDENTIALS, "sesame")


def test_what_a_program_needs_is_passed_on_and_no_credential() -> None:
    assert inherited_environment({**CREDENTIALS, **OWN}, everything=False) == {}
    assert inherited_environment({**CREDENTIALS, **OWN, **NEEDED}, everything=False) == NEEDED


def test_everything_is_all_but_headraces_own_credentials() -> None:
    environ = {**NEEDED, **CREDENTIALS}
    assert inherited_environment({**environ, **OWN}, everything=True) == environ


def environment_of_a_process(folder: Path, **plan: object) -> dict[str, str]:
    """As the process itself sees it, without what its shells set."""
    command = f"exec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    launcher = ProcessLauncher()
    handle = launcher.start(LaunchPlan("job", (Step(command),), folder, **plan))  # type: ignore[arg-type]
    deadline = time.monotonic() + DEADLINE_S
    while launcher.observe(handle, folder).is_running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    output: dict[str, str] = json.loads((folder / "log").read_text())
    return {name: value for name, value in output.items() if name not in ("PWD", "OLDPWD", "SHLVL")}


@pytest.fixture
def of_the_operator(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Credentials of many kinds in the environment that starts Headrace."""
    for name, value in {**CREDENTIALS, **OWN}.items():
        monkeypatch.setenv(name, value)
    return {**CREDENTIALS, **OWN}


def test_a_process_has_its_own_variables_and_what_it_needs(
    of_the_operator: dict[str, str], tmp_path: Path
) -> None:
    env = {"LOG_LEVEL": "info", "HF_TOKEN": "of the manifest", "PORT": "41000"}
    output = environment_of_a_process(tmp_path / "job", env=env)
    assert {name: output[name] for name in env} == env
    assert output[LAUNCH_NAME_VARIABLE] == "job"
    assert output["PATH"].startswith(str(Path(sys.executable).parent))
    assert set(output) & set(of_the_operator) == {"HF_TOKEN"}
    assert "sesame" not in json.dumps(output)


def test_a_process_may_inherit_everything_but_headraces_own_credentials(
    of_the_operator: dict[str, str], tmp_path: Path
) -> None:
    output = environment_of_a_process(tmp_path / "job", inherits_env=True)
    assert set(output) & set(of_the_operator) == set(CREDENTIALS)


def test_a_container_client_gets_the_operators_variables_and_the_container_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The runtime is a script that prints its arguments."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")
    monkeypatch.setenv("HEADRACE_API_TOKEN", "sesame")
    runtime = tmp_path / "docker"
    runtime.write_text('#!/bin/sh\n[ "$1" = run ] && echo "$DOCKER_HOST $HEADRACE_API_TOKEN $*"\n')
    runtime.chmod(0o755)
    launcher = ContainerLauncher(str(runtime), ProcessLauncher())
    folder = tmp_path / "job"
    plan = LaunchPlan("job", (Step("true"),), folder, {"PORT": "41000"}, image="torch:2")
    handle = launcher.start(plan)
    deadline = time.monotonic() + DEADLINE_S
    while launcher.observe(handle, folder).is_running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    output = (folder / "log").read_text()
    assert output.startswith("tcp://127.0.0.1:2375  run ")
    assert "--env PORT " in output
    assert output.count("--env") == 1
