"""Write requirements/*.lock: the versions in .venv of all that Headrace reaches, with hashes.

    pip.lock    pip, and what builds an editable install
    torch.lock  PyTorch alone, at any build (CPU or CUDA)
    cuda.lock   what PyTorch's CUDA build needs besides
    triton.lock Triton alone: both PyTorch's CUDA build and the tests need it
    run.lock    everything else that serving needs
    dev.lock    what tests and checks need besides
    clients.lock  the client programs in .venv/clients

The locks hold for Linux and macOS, and for Python 3.11 to 3.14. Newer versions are brought into
.venv first, and tested; what is not in .venv keeps the version that the locks have now.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import distributions, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"

HEAD = """\
# {title}
# Written by `make lock`. The set-up installs exactly these files: their hashes are required.
"""
TITLES = {
    "pip": "pip, and what builds an editable install.",
    "torch": "PyTorch alone: the hashes of all its builds on pip's indexes.",
    "cuda": "What PyTorch's CUDA build needs besides.",
    "triton": "Triton alone: both PyTorch's CUDA build and the tests need it.",
    "run": "Everything else that serving needs.",
    "dev": "What tests and checks need besides.",
    "clients": "The client programs that tests run, in an environment of their own.",
}
PIP_TOOLS = ("pip", "setuptools")

EVERYWHERE = (
    " ; python_full_version < '3.15' and (sys_platform == 'darwin' or sys_platform == 'linux')"
)
"""uv's marker of what every supported platform needs (tool.uv in pyproject.toml)."""

Pins = dict[str, str]
"""Each package's lines in a lock file, by its name."""


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [Requirement(line) for line in project["dependencies"]]
    dev = [Requirement(line) for line in project["optional-dependencies"]["dev"]]
    clients = [Requirement(line) for line in project["optional-dependencies"]["clients"]]
    torch = next(requirement for requirement in direct if requirement.name == "torch")
    of_every_torch = [Requirement(line) for line in requires("torch") or []]
    run_direct = [
        *(requirement for requirement in direct if requirement is not torch),
        *(requirement for requirement in of_every_torch if requirement.marker is None),
    ]

    everything = compiled([*direct, *dev, *map(Requirement, PIP_TOOLS)])
    pip = {name: everything[name] for name in PIP_TOOLS}
    run = {name: everything[name] for name in compiled(run_direct)}
    with_torch = compiled([*run_direct, torch])
    cuda = {name: everything[name] for name in with_torch if name not in run}
    del cuda["torch"]
    triton = {"triton": cuda.pop("triton")}
    rest = {*pip, "torch", *triton, *run, *cuda}
    write("pip", pip)
    write("torch", {"torch": with_hash(everything["torch"], cpu_build_hash())})
    write("cuda", cuda)
    write("triton", triton)
    write("run", {name: lines for name, lines in run.items() if name not in pip})
    write("dev", {name: lines for name, lines in everything.items() if name not in rest})
    write("clients", compiled(clients, (LOCKS / "clients.lock",), pins=()))


def compiled(
    requirements: Iterable[Requirement],
    locks: Iterable[Path] | None = None,
    pins: Iterable[str] | None = None,
) -> Pins:
    """All that these bring, at these pins (default: the versions in .venv), else at the versions in
    these lock files (default: all but clients.lock)."""
    if locks is None:
        locks = (path for path in sorted(LOCKS.glob("*.lock")) if path.stem != "clients")
    if pins is None:
        pins = installed()
    with tempfile.TemporaryDirectory() as folder:
        wanted, constraints, output = (
            Path(folder) / name for name in ("requirements.in", "constraints.txt", "output.lock")
        )
        wanted.write_text("".join(f"{requirement}\n" for requirement in requirements))
        constraints.write_text("".join(f"{line}\n" for line in pins))
        output.write_text("".join(path.read_text() for path in locks if path.exists()))
        command = [
            str(Path(sys.executable).with_name("uv")),
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--generate-hashes",
        ]
        command += ["--python-version", "3.11", "--no-annotate", "--no-header", "--allow-unsafe"]
        command += ["--constraints", str(constraints), "--output-file", str(output), str(wanted)]
        subprocess.run(command, cwd=ROOT, check=True)
        return parsed(output.read_text().replace(EVERYWHERE, ""))


def installed() -> list[str]:
    """A pin of each package in .venv; of PyTorch at any build."""
    names = {canonicalize_name(found.name) for found in distributions()} - {"headrace"}
    return [f"{name}=={Version(version(name)).public}" for name in sorted(names)]


def parsed(lock: str) -> Pins:
    pins: Pins = {}
    name = ""
    for line in lock.splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            name = canonicalize_name(line.partition("==")[0])
        if name:
            pins[name] = pins.get(name, "") + line
    return pins


def cpu_build_hash() -> str | None:
    """The hash of PyTorch's CPU build for this Python, where pip's indexes have that build."""
    wanted = f"torch=={Version(version('torch')).public}+cpu"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
    command += ["--ignore-installed", "--report", "-", wanted]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        return None
    archive = json.loads(found.stdout)["install"][0]["download_info"]["archive_info"]
    sha256: str = archive["hashes"]["sha256"]
    return sha256


def with_hash(pin: str, sha256: str | None) -> str:
    if sha256 is None or sha256 in pin:
        return pin
    return f"{pin.rstrip()} \\\n    --hash=sha256:{sha256}\n"


def write(name: str, pins: Pins) -> None:
    lines = "".join(pins[package].rstrip("\n") + "\n" for package in sorted(pins))
    (LOCKS / f"{name}.lock").write_text(HEAD.format(title=TITLES[name]) + lines)
    print(f"{name}.lock: {len(pins)} packages")


if __name__ == "__main__":
    main()
