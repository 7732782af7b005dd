"""check_skips.py on real reports of pytest."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_skips.py"
TESTS = """\
import pytest

@pytest.mark.parametrize("number", range(3))
def test_on_a_gpu(number):
    pytest.skip("needs a CUDA device")

@pytest.mark.skipif(True, reason="left to the reference: heads of 24")
def test_decorated(): ...

def test_that_runs(): ...
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("skips")
    (folder / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml=report.xml", "-p", "no:xdist"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "report.xml"


@pytest.mark.parametrize(
    ("allowed", "complaint"),
    [
        ("# comment\n\n3 needs a CUDA device\n1 left to the reference\n", None),
        ("9 .*\n", None),
        ("2 needs a CUDA device\n1 left to the reference\n", "3 for 'needs a CUDA device'"),
        ("3 needs .*\n", "1 for a reason that is not allowed, 'left to the reference: heads"),
    ],
)
def test_only_listed_skips_are_allowed(
    report: Path, tmp_path: Path, allowed: str, complaint: str | None
) -> None:
    (tmp_path / "allowed").write_text(allowed)
    command = [sys.executable, str(SCRIPT), str(report), str(tmp_path / "allowed")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == (
        "    1 skipped: left to the reference: heads of 24\n    3 skipped: needs a CUDA device\n"
    )
    if complaint is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 1
        assert complaint in done.stderr
