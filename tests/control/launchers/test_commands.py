"""What a spec starts, as a real shell runs it."""

import subprocess
from pathlib import Path

import pytest

from headrace.control.launchers.commands import command_of, steps_of
from headrace.control.manifests.revision import parse_revision
from headrace.control.manifests.run import RunSpec, parse_run


def run_spec(*steps: str) -> RunSpec:
    lines = ["run:", *(f"- {step}" for step in steps)]
    return parse_run("\n".join(lines), "r.yaml").spec


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("model: smollm2-135m", "headrace serve smollm2-135m --port $PORT"),
        ("model: a b", "headrace serve 'a b' --port $PORT"),
        (
            "model: o/m\nengine: vllm\nargs: --max-model-len 2048",
            "vllm serve o/m --port $PORT --max-model-len 2048",
        ),
        (
            "model: o/m\nargs: [--name, a b, 3]",
            "headrace serve o/m --port $PORT --name 'a b' 3",
        ),
        ("model: o/m\nargs: --api-key $KEY", "headrace serve o/m --port $PORT --api-key $KEY"),
    ],
)
def test_the_shorthand(text: str, command: str) -> None:
    spec = parse_revision(text, "r.yaml").spec
    assert command_of(spec) == command
    assert [step.command for step in steps_of(spec)] == [command]


def test_one_command_stays_as_it_is() -> None:
    text = "pip install x; serve --port 3000"
    assert command_of(parse_revision(f"run: {text}", "r.yaml").spec) == text


def test_steps_share_one_shell(tmp_path: Path) -> None:
    (tmp_path / "sub folder").mkdir()
    spec = run_spec(
        f"{{command: 'export A=1', workdir: {tmp_path}}}",
        "{command: 'echo $A; basename \"$PWD\" # a comment', workdir: sub folder}",
    )
    told = subprocess.run(["sh", "-c", command_of(spec)], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, "1\nsub folder\n")


def test_a_step_that_fails_ends_it_with_its_exit_code() -> None:
    command = command_of(run_spec("echo a", "(exit 7)", "echo b"))
    told = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (7, "a\n")


def test_a_workdir_that_is_not_there_ends_it() -> None:
    command = command_of(run_spec("{command: echo a, workdir: /no/such/folder}"))
    told = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert told.returncode != 0
    assert told.stdout == ""
    assert "/no/such/folder" in told.stderr
