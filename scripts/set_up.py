"""Fill .venv with Headrace and what it needs, at the versions and hashes of requirements/*.lock.

Needs the standard library alone, and never installs into the system's Python. A file whose hash is
not in the locks is not installed; PyTorch from TORCH_INDEX_URL is the one exception, since that
index is chosen by hand.

    scripts/set-up run    what serving needs
    scripts/set-up dev    that, and what tests and checks need

A stamp in .venv says what it holds; where that still fits, nothing is done. The stamp reads
"unfinished" from the first change to the last, so that a set-up which was interrupted anywhere
is made again from the start: pip can not tell a package that is half there.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Extent = Literal["run", "dev"]

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up.stamp"
LOG = VENV / "set-up.log"
LOCKS = ROOT / "requirements"

UNFINISHED = "unfinished\n"
NUM_LOG_LINES_SHOWN = 25

NO_CPU_BUILD = """\
       pip finds no CPU build of it, so this takes the build for NVIDIA GPUs: some GB of
       libraries that this machine has no use for. To save them, stop, and make again with
       TORCH_INDEX_URL=(PyTorch's index of CPU wheels)."""
CPU_BUILD_BESIDE_GPU = """\
       This is its CPU build, and there is an NVIDIA GPU here. To use it: make clean, then
       make again with TORCH_INDEX_URL=(PyTorch's index of CUDA wheels)."""


class SetUpError(Exception):
    """What went wrong and what to do, in words for the person at the terminal."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What a finished .venv was made from."""

    extent: Extent
    key: str
    """Hash of the files that say what is to be installed."""
    root: str
    """Where the repository was: the scripts in .venv/bin name that path."""

    def text(self) -> str:
        return f"{self.extent} {self.key}\n{self.root}\n"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in get_args(Extent):
        print("usage: scripts/set-up run|dev", file=sys.stderr)
        return 2
    extent: Extent = "dev" if arguments[0] == "dev" else "run"
    if is_done(extent):
        return 0
    try:
        with alone() as lock_fd:
            # Another set-up may have done it while this one waited.
            if not is_done(extent):
                set_up(extent, Pip(lock_fd))
    except SetUpError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe set-up was stopped; the next one starts afresh.", file=sys.stderr)
        return 130
    return 0


def is_done(extent: Extent) -> bool:
    if not VENV_PYTHON.exists():
        return False
    # A .venv for development has all that serving needs.
    return read_stamp() in (wanted_stamp(extent).text(), wanted_stamp("dev").text())


@contextmanager
def alone() -> Iterator[int]:
    """Hold the one lock of set-ups in this repository; gives its file descriptor."""
    with open(__file__) as this_file:
        try:
            fcntl.flock(this_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up is at work here; waiting for it to end.")
            fcntl.flock(this_file, fcntl.LOCK_EX)
        yield this_file.fileno()


def set_up(extent: Extent, pip: "Pip") -> None:
    began_s = time.monotonic()
    stamp = wanted_stamp(extent)
    check_locks()
    say(f"Setting up Headrace in {VENV}")
    if not can_be_updated():
        make_venv(pip)
    write_stamp(UNFINISHED)
    try:
        give_pip(pip)
        install_torch(pip)
        install_headrace(extent, pip)
    except SetUpError:
        # Nothing is half there where pip gave up before it put anything into place.
        if not pip.has_begun_to_install():
            write_stamp(incomplete_stamp())
        raise
    write_stamp(stamp.text())
    say(f"Set-up is done, in {time.monotonic() - began_s:.0f} s.")


# The steps


def can_be_updated() -> bool:
    """Whether .venv is whole and stands where it was made; one without a stamp was made by hand."""
    if not VENV_PYTHON.exists():
        return False
    stamp = read_stamp()
    return stamp is None or stamp.splitlines()[1:] == [str(ROOT)]


def make_venv(pip: "Pip") -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"  1/3  a virtual environment, with Python {version}")
    if VENV.is_symlink():
        raise SetUpError(f"{VENV} is a link, which set-up leaves alone. Remove it and try again.")
    if VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    write_stamp(UNFINISHED)
    # pip comes in a step of its own, since Debian's Python may lack ensurepip.
    if not pip.run([base_python(), "-m", "venv", "--without-pip", str(VENV)]):
        raise SetUpError(
            f"{base_python()} could not make a virtual environment:\n{pip.last_lines()}\n"
            "On Debian and Ubuntu, apt install python3-venv brings what it needs."
        )


def give_pip(pip: "Pip") -> None:
    """Put into .venv the pip of pip.lock, whatever this machine has."""
    venv_pip = [str(VENV_PYTHON), "-m", "pip"]
    install = ["install", *locked("pip")]
    has_pip = pip.run([*venv_pip, "--version"]) or pip.run([str(VENV_PYTHON), "-m", "ensurepip"])
    if has_pip and pip.run([*venv_pip, *install]):
        return
    # pip can install into another Python; "--python" came with pip 22.3.
    if not has_pip and pip.run(
        [base_python(), "-m", "pip", "--python", str(VENV_PYTHON), *install]
    ):
        return
    raise SetUpError(
        f"pip could not be put into {VENV}:\n{pip.last_lines()}\n"
        "Is there a network? And where Python came without pip: on Debian and Ubuntu,"
        " apt install python3-venv brings it."
    )


def install_torch(pip: "Pip") -> None:
    """PyTorch by itself, before all else, to choose among its builds."""
    version = torch_version()
    index_url = os.environ.get("TORCH_INDEX_URL", "").strip()
    say(f"  2/3  PyTorch {version}{', from TORCH_INDEX_URL' if index_url else ''}")
    if installed_torch(version) is None:
        if index_url:
            pip.install("PyTorch", "--no-deps", "--index-url", index_url, f"torch=={version}")
        elif sys.platform != "linux" or has_nvidia_gpu():
            pip.install("PyTorch", *locked("torch"))
        elif not pip.try_install("PyTorch", *locked_cpu_torch()):
            say(NO_CPU_BUILD)
            pip.install("PyTorch", *locked("torch"))
    build = installed_torch(version) or ""
    if build.endswith("+cpu") and has_nvidia_gpu():
        say(CPU_BUILD_BESIDE_GPU)


def install_headrace(extent: Extent, pip: "Pip") -> None:
    say(f"  3/3  Headrace and its parts{', with its test tools' if extent == 'dev' else ''}")
    names = ["run", "dev"] if extent == "dev" else ["run"]
    if needs_cuda_parts():
        names.append("cuda")
    if extent == "dev" or needs_cuda_parts():
        names.append("triton")  # its line has a marker: Linux alone has wheels
    pip.install("Headrace's parts", *locked(*names))
    # Built by the setuptools of pip.lock, since a build environment of pip's own has no hashes.
    pip.install("Headrace", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


# What is known of this machine and of .venv


def base_python() -> str:
    """The Python underneath, where this one runs in a virtual environment: that may be .venv."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def has_nvidia_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def check_locks() -> None:
    """Raises SetUpError where pyproject.toml names a package that no lock has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    text = "".join(path.read_text() for path in sorted(LOCKS.glob("*.lock")))
    names = set(re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE))
    for requirement in wanted:
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        if re.sub(r"[-_.]+", "-", name).lower() not in names:
            raise SetUpError(
                f"{name} is in pyproject.toml and not in requirements/*.lock.\n"
                f"Add it: .venv/bin/pip install '{requirement}', then make lock."
            )


def locked(*names: str) -> list[str]:
    """pip's arguments for exactly what these lock files name."""
    files = [("--requirement", str(LOCKS / f"{name}.lock")) for name in names]
    return ["--no-deps", "--require-hashes", *(part for pair in files for part in pair)]


def locked_cpu_torch() -> list[str]:
    """pip's arguments for PyTorch's CPU build, at the version and the hashes of torch.lock."""
    text = (LOCKS / "torch.lock").read_text()
    cpu_lock = VENV / "torch-cpu.lock"
    cpu_lock.write_text(text.replace(f"torch=={torch_version()}", f"torch=={torch_version()}+cpu"))
    return ["--no-deps", "--require-hashes", "--requirement", str(cpu_lock)]


def torch_version() -> str:
    match = re.search(r"^torch==(\S+)", (LOCKS / "torch.lock").read_text(), re.MULTILINE)
    if match is None:
        raise SetUpError(f"{LOCKS / 'torch.lock'} has no line torch==VERSION. Restore that file.")
    return match[1]


def needs_cuda_parts() -> bool:
    """Whether the PyTorch in .venv is a build that loads NVIDIA's libraries from packages."""
    build = installed_torch(torch_version()) or ""
    return sys.platform == "linux" and ("+" not in build or "+cu" in build)


def installed_torch(version: str) -> str | None:
    """The version of the PyTorch in .venv with its build (2.13.0+cpu), if it is that version."""
    for found in VENV.glob(f"lib/python3*/site-packages/torch-{version}*.dist-info"):
        build = found.name.removeprefix("torch-").removesuffix(".dist-info")
        if build == version or build.startswith(f"{version}+"):
            return build
    return None


def wanted_stamp(extent: Extent) -> Stamp:
    key = hashlib.sha256()
    for path in (ROOT / "pyproject.toml", *sorted(LOCKS.glob("*.lock"))):
        key.update(path.read_bytes() + b"\0")
    return Stamp(extent=extent, key=key.hexdigest(), root=str(ROOT))


def incomplete_stamp() -> str:
    """For a .venv that lacks something and is sound otherwise: it can be updated."""
    return f"incomplete\n{ROOT}\n"


def read_stamp() -> str | None:
    try:
        return STAMP.read_text()
    except FileNotFoundError:
        return None


def write_stamp(text: str) -> None:
    written = STAMP.with_suffix(".new")
    written.write_text(text)
    written.replace(STAMP)


# pip, and what of its words a person sees


class Pip:
    """Runs commands with their output in .venv/set-up.log, and one line of it on a terminal."""

    def __init__(self, lock_fd: int) -> None:
        # Children hold the lock too: a pip that outlives this process is waited for by the next.
        self._lock_fd = lock_fd
        self._output: list[str] = []

    def install(self, what: str, *arguments: str) -> None:
        if not self._install(*arguments):
            self._fail(what)

    def try_install(self, what: str, *arguments: str) -> bool:
        """False where no index has it; any other trouble is an error."""
        if self._install(*arguments):
            return True
        if not any("No matching distribution" in line for line in self._output):
            self._fail(what)
        return False

    def run(self, command: list[str]) -> bool:
        """Whether it ended well."""
        self._output = []
        with (
            LOG.open("a") as log,
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[self._lock_fd],
                text=True,
                errors="replace",
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                show_progress(line, after=self._output[-1] if self._output else "")
                if not line.startswith("Progress "):
                    self._output.append(line)
                    log.write(line)
        hide_progress()
        return process.returncode == 0

    def has_begun_to_install(self) -> bool:
        """Whether the last command got as far as to change .venv."""
        return any(line.startswith("Installing collected packages") for line in self._output)

    def last_lines(self) -> str:
        return "".join(f"    {line}" for line in self._output[-NUM_LOG_LINES_SHOWN:]).rstrip()

    def _install(self, *arguments: str) -> bool:
        return self.run(
            [str(VENV_PYTHON), "-m", "pip", "install", "--progress-bar", "raw", *arguments]
        )

    def _fail(self, what: str) -> None:
        raise SetUpError(
            f"pip could not install {what}. Its last words (all of them are in {LOG}):\n"
            f"{self.last_lines()}"
        )


def clean_environment() -> dict[str, str]:
    """Ours, less what would send packages elsewhere than into .venv."""
    elsewhere = {"PYTHONHOME", "PYTHONPATH", "PIP_PREFIX", "PIP_ROOT", "PIP_TARGET", "PIP_QUIET"}
    kept = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return kept | {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def show_progress(line: str, *, after: str) -> None:
    """Show pip's line in place of the one before; its bare counts of bytes follow on a name."""
    if not sys.stdout.isatty():
        return
    text = " ".join(line.split())
    progress = re.match(r"Progress (\d+) of (\d+)$", text)
    if progress:
        done_mb, whole_mb = (int(num_bytes) / 1e6 for num_bytes in progress.groups())
        name = re.search(r"Downloading ([^-\s]+-[^-\s]+)", after)
        text = f"Downloading {name[1] if name else ''}: {done_mb:.0f} of {whole_mb:.0f} MB"
    width = shutil.get_terminal_size().columns - 8
    print(f"\r\033[K       {text[:width]}", end="", flush=True)


def hide_progress() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
