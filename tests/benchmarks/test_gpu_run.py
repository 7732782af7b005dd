"""benchmarks/gpu on a machine without a GPU: a complete `run`, with tiny shapes on the CPU."""

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from headrace.core.home import headrace_home

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / "gpu"
TINY = (
    *("--device", "cpu", "--dtype", "float32", "--models", "tiny", "--batch-sizes", "1,2"),
    *("--input-len", "8", "--output-len", "4", "--repeats", "1"),
    *("--num-requests", "4", "--peer-batch-size", "2"),
)
PRINT_IMPORTED = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, {folder!r})
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def run(*arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """With the compiled kernels of the user who runs the tests."""
    shared = {"PYTHON": sys.executable, "HEADRACE_HOME": str(headrace_home())}
    environment = {**os.environ, **shared, **variables}
    return subprocess.run(
        [FOLDER / "run", *arguments], env=environment, capture_output=True, text=True, check=False
    )


def wheels(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, FOLDER / "wheels.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def empty_folder(tmp_path: Path) -> Path:
    """Of wheels: the development environment lacks no package."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_a_session_measures_both_peers(empty_folder: Path, tmp_path: Path) -> None:
    done = run(empty_folder, *TINY, "--output", tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "results" / "gpu.json").read_text())
    assert result["tests"]["error"] is None
    assert result["tests"]["failed"] == 0
    assert result["limits"]["bytes_per_s"] > 0
    (model,) = result["models"]
    for peer in ("headrace", "transformers"):
        part: dict[str, Any] = model["peers"][peer]
        assert part["error"] is None
        assert [figures["batch_size"] for figures in part["decode"]] == [1, 2]
        for figures in part["decode"]:
            assert figures["share_of_limit"] > 0
            assert figures["tokens_per_s"] == pytest.approx(
                figures["batch_size"] / figures["step_s"]
            )
        assert part["throughput"]["num_requests"] == 4
        assert part["throughput"]["output_tokens_per_s"] > 0
    table = (tmp_path / "results" / "gpu.txt").read_text()
    assert "decode, batch of 2" in table
    assert "4 requests, 8 in, 4 out" in table


def test_a_session_out_of_time_still_writes_its_result(empty_folder: Path, tmp_path: Path) -> None:
    done = run(empty_folder, *TINY, "--time-limit", "0.001", "--output", tmp_path)
    assert done.returncode == 1
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["tests"]["error"]
    assert result["error"]
    assert (tmp_path / "gpu.txt").is_file()


@pytest.mark.parametrize("arguments", [(), ("--device", "cpu")])
def test_a_call_without_a_folder_is_refused(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).returncode == 2


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    done = wheels("install", tmp_path / "missing", tmp_path / "site")
    assert done.returncode == 1
    assert "make gpu" in done.stderr


def test_installed_packages_are_not_installed_again(empty_folder: Path, tmp_path: Path) -> None:
    (empty_folder / "rich-1.0-py3-none-any.whl").write_bytes(b"not a wheel")
    assert wheels("install", empty_folder, tmp_path / "site").returncode == 0
    assert not list((tmp_path / "site").iterdir())


def test_a_wheel_that_cannot_be_installed_is_an_error(empty_folder: Path, tmp_path: Path) -> None:
    (empty_folder / "absent_package-1.0-cp27-cp27m-win32.whl").write_bytes(b"")
    done = wheels("install", empty_folder, tmp_path / "site")
    assert done.returncode == 1
    assert "GPU_PYTHON" in done.stderr


@pytest.mark.slow
def test_all_imports_are_provided_or_required(tmp_path: Path) -> None:
    """No package may be missing on a machine without a network."""
    search = os.pathsep.join(map(str, (ROOT / "src", ROOT / "benchmarks")))
    common = ("--device", "cpu", "--dtype", "float32", "--directory", tmp_path / "model")
    plan = {
        "batch_sizes": [1],
        "input_len": 4,
        "output_len": 2,
        "num_repeats": 1,
        "num_requests": 1,
        "peer_batch_size": 1,
    }
    measured = (
        *("--plan", json.dumps(plan)),
        *("--limits", json.dumps({"bytes_per_s": 1e9, "flops_per_s": 1e9})),
    )
    imported: set[str] = set()
    for part in (
        ("write", tmp_path / "write.json", *common, "--model", "tiny"),
        ("measure", tmp_path / "ours.json", *common, *measured, "--peer", "headrace"),
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-c", PRINT_IMPORTED.format(folder=str(FOLDER))),
                *(FOLDER / "worker.py", *part),
            ],
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        imported |= set(done.stdout.rpartition("imported:")[2].split())
    listed = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from wheels import *; "
            "print(*closure(required_names(), '3.12'), *closure(PROVIDED, '3.12'))",
        ],
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )
    owners = packages_distributions()
    names = {
        owner.lower().replace("_", "-") for module in imported for owner in owners.get(module, [])
    }
    # Other packages import these where they happen to be installed.
    optional = {"headrace", "setuptools", "dill", "cffi", "pycparser", "scipy"}
    assert names - optional <= set(listed.stdout.split())
