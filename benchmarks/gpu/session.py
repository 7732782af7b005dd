"""Runs tests/gpu, then measures each model with each peer; writes gpu.json and gpu.txt.

Every part is a process of its own with a time limit. A part that fails or runs out of time is
recorded with the end of its output; the others go on. Exits with 1 if any part failed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from report import as_text

from headrace.version import __version__

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCHEMA = 1
"""Of gpu.json; raised when a field's name or meaning changes."""
PEERS = ("headrace", "transformers")
TEST_SHARE = 0.45
"""Of the time limit, at most, for the tests."""
OUTPUT_TAIL = 2000
"""Characters of a failed part's output that are recorded."""


@dataclass(frozen=True)
class PartResult:
    values: dict[str, Any]
    """What the part had written when it ended."""
    error: str | None


class Session:
    """Runs all parts in order, and writes the result after each."""

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        self._given = given
        self._scratch = scratch
        self._began = time.monotonic()
        self._num_parts = 0
        self.result: dict[str, Any] = {
            "schema": SCHEMA,
            "headrace": __version__,
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": given.device,
            "dtype": given.dtype,
            "plan": _plan(given),
            "models": [],
        }

    def run(self) -> None:
        given = self._given
        self._record(tests=self._test())
        measured = self._run_part("limits", [])
        self._record(**measured.values)
        if measured.error is not None:
            self._record(error=measured.error)
            return
        for name in given.models:
            self.result["models"].append(self._measure_model(name))
            self._record()
        self._record()

    @property
    def has_failed(self) -> bool:
        models = self.result["models"]
        parts = [self.result, self.result.get("tests", {}), *models]
        parts += [model["peers"].get(peer, {}) for model in models for peer in PEERS]
        return any(part.get("error") for part in parts)

    def _test(self) -> dict[str, Any]:
        """Counts of tests/gpu. All are skipped without a CUDA device; with one, none may be."""
        report = self._scratch / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider"]
        command += [f"--junitxml={report}", "tests/gpu"]
        began = time.monotonic()
        error = self._run(command, min(self._left_s, self._given.time_limit * TEST_SHARE))
        counts = _counts(report)
        if error is None and self._given.device == "cuda" and not counts.get("passed"):
            error = "no test of tests/gpu ran: PyTorch sees no CUDA device"
        return {**counts, "duration_s": time.monotonic() - began, "error": error}

    def _measure_model(self, name: str) -> dict[str, Any]:
        directory = self._scratch / name
        model: dict[str, Any] = {"name": name, "peers": {}}
        part = ["--model", name, "--directory", str(directory)]
        written = self._run_part("write", part)
        if written.error is not None:
            return {**model, "error": written.error}
        limits = json.dumps(self.result["limits"])
        for peer in PEERS:
            arguments = [*part, "--peer", peer, "--plan", json.dumps(self.result["plan"])]
            measured = self._run_part("measure", [*arguments, "--limits", limits])
            model["peers"][peer] = {**measured.values, "error": measured.error}
        shutil.rmtree(directory)
        return model

    def _run_part(self, part: str, arguments: Sequence[str]) -> PartResult:
        self._num_parts += 1
        output = self._scratch / f"part-{self._num_parts}.json"
        command = [sys.executable, str(HERE / "worker.py"), part, str(output)]
        command += ["--device", self._given.device, "--dtype", self._given.dtype, *arguments]
        error = self._run(command, self._left_s)
        values = json.loads(output.read_text()) if output.exists() else {}
        return PartResult(values, error)

    def _run(self, command: Sequence[str], timeout_s: float) -> str | None:
        """Why it failed; None if it did not."""
        if timeout_s <= 0:
            return f"not started: the time limit of {self._given.time_limit} s was reached"
        print(f"[{time.monotonic() - self._began:5.0f} s] {_shown(command)}", flush=True)
        log = self._scratch / "output.log"
        with log.open("w") as stream:
            try:
                done = subprocess.run(
                    command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, timeout=timeout_s
                )
            except subprocess.TimeoutExpired:
                return f"stopped after {timeout_s:.0f} s:\n{_tail(log)}"
        return None if done.returncode == 0 else f"exit code {done.returncode}:\n{_tail(log)}"

    @property
    def _left_s(self) -> float:
        return float(self._given.time_limit - (time.monotonic() - self._began))

    def _record(self, **values: Any) -> None:
        self.result.update(values, duration_s=time.monotonic() - self._began)
        folder: Path = self._given.output
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gpu.json").write_text(json.dumps(self.result, indent=1))
        (folder / "gpu.txt").write_text(as_text(self.result))


def _plan(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "batch_sizes": given.batch_sizes,
        "input_len": given.input_len,
        "output_len": given.output_len,
        "num_repeats": given.repeats,
        "num_requests": given.num_requests,
        "peer_batch_size": given.peer_batch_size,
    }


def _counts(report: Path) -> dict[str, int]:
    """From pytest's JUnit file; empty if it was not written."""
    if not report.exists():
        return {}
    suite = ElementTree.parse(report).getroot().find("testsuite")
    if suite is None:
        return {}
    total, failed, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors", 0))
    return {"passed": total - failed - skipped, "failed": failed, "skipped": skipped}


def _shown(command: Sequence[str]) -> str:
    """The words of a command without the JSON values."""
    words = (Path(word).name if "/" in word else word for word in command[1:])
    return " ".join(word for word in words if not word.startswith("{"))


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-OUTPUT_TAIL:]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu/run WHEELS", description=__doc__.partition("\n")[0]
    )
    whole = {"type": _whole, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument(
        "--models",
        type=lambda text: text.split(","),
        default=["qwen3-0.6b", "llama-3.1-8b"],
        help="shapes of random_models.py, with commas between them; default: %(default)s",
    )
    parser.add_argument(
        "--batch-sizes",
        type=lambda text: [_whole(size) for size in text.split(",")],
        default=[1, 8, 64],
        help="of decode steps; default: %(default)s",
    )
    parser.add_argument("--input-len", default=128, **whole)
    parser.add_argument("--output-len", default=128, **whole)
    parser.add_argument("--repeats", default=3, **whole)
    parser.add_argument("--num-requests", default=256, **whole)
    parser.add_argument("--peer-batch-size", default=64, **whole)
    parser.add_argument(
        "--time-limit", type=float, default=480.0, metavar="S", help="default: %(default)s"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results", metavar="DIR")
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.output_len < 2:
        parser.error("--output-len must be 2 or more: one token is the prefill's")
    return given


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


def main() -> int:
    given = _parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        session = Session(given, Path(scratch))
        session.run()
    print(as_text(session.result))
    print(f"Written: {given.output / 'gpu.json'}, {given.output / 'gpu.txt'}")
    return 1 if session.has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
