"""The limits of check_layout.py, at and above each."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_layout.py"


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("num_modules", "exit_code"), [(12, 0), (13, 1)])
def test_number_of_modules_in_a_folder(tmp_path: Path, num_modules: int, exit_code: int) -> None:
    (tmp_path / "__init__.py").touch()
    for number in range(num_modules):
        (tmp_path / f"module_{number}.py").touch()
    done = check(tmp_path)
    assert done.returncode == exit_code
    assert (str(tmp_path) in done.stderr) == bool(exit_code)


@pytest.mark.parametrize(("num_lines", "exit_code"), [(400, 0), (401, 1)])
def test_number_of_lines_in_a_module(tmp_path: Path, num_lines: int, exit_code: int) -> None:
    module = tmp_path / "inner" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n" * num_lines)
    done = check(tmp_path)
    assert done.returncode == exit_code
    assert (str(module) in done.stderr) == bool(exit_code)
