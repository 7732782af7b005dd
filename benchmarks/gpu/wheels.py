"""The folder of wheels for `run`: filled with a network, installed without one.

    python benchmarks/gpu/wheels.py download FOLDER [--python-version 3.12]
    python benchmarks/gpu/wheels.py install FOLDER TARGET

What the machine has already (PROVIDED, and what that needs) is left out of the folder. Versions and
hashes are those of requirements/*.lock. Needs no other package than pip's own.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path

try:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name, parse_wheel_filename
except ImportError:  # a machine that has pip alone
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
PROVIDED = ("numba", "pytest", "torch", "transformers", "triton")
"""What a machine for PyTorch has, with everything that these need."""

PLATFORMS = tuple(
    f"{name}_x86_64"
    for name in (
        *(f"manylinux_2_{minor}" for minor in (35, 34, 31, 28, 27, 24, 17, 12, 5)),
        *("manylinux2014", "manylinux2010", "manylinux1"),
    )
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    fill = commands.add_parser("download", help="fill the folder, from pip's index")
    fill.add_argument("folder", type=Path)
    fill.add_argument(
        "--python-version", default="3.12", help="the machine's; default: %(default)s"
    )
    use = commands.add_parser("install", help="install what this machine lacks, from the folder")
    use.add_argument("folder", type=Path)
    use.add_argument("target", type=Path)
    given = parser.parse_args()
    if given.command == "download":
        download(given.folder, given.python_version)
    else:
        install(given.folder, given.target)


def download(folder: Path, python_version: str) -> None:
    """Fill the folder with the wheels that a machine with PROVIDED lacks."""
    names = missing_packages(python_version)
    pins = locked_pins()
    unlocked = sorted(names - pins.keys())
    if unlocked:
        sys.exit(f"Not in requirements/*.lock: {', '.join(unlocked)}. Run `make lock` first.")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text("".join(pins[name] for name in sorted(names)))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        command += ["--python-version", python_version, "--implementation", "cp"]
        for platform in PLATFORMS:
            command += ["--platform", platform]
        subprocess.run([*command, "--requirement", str(wanted)], check=True)
    wheels = list(folder.glob("*.whl"))
    num_bytes = sum(wheel.stat().st_size for wheel in wheels)
    print(f"{folder}: {len(wheels)} wheels for Python {python_version}, {num_bytes / 1e6:.1f} MB")


def missing_packages(python_version: str) -> set[str]:
    """What REQUIREMENTS needs and PROVIDED does not bring, by the metadata installed here."""
    return closure(required_names(), python_version) - closure(PROVIDED, python_version)


def required_names() -> list[str]:
    lines = REQUIREMENTS.read_text().splitlines()
    return [canonicalize_name(line) for line in lines if line and not line.startswith("#")]


def closure(names: Iterable[str], python_version: str) -> set[str]:
    """These packages and all that they need on Linux; ones that are not installed need nothing."""
    environment = {
        "python_version": python_version,
        "python_full_version": f"{python_version}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "extra": "",
    }
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            continue
        waiting += [
            canonicalize_name(need.name)
            for need in needs
            if need.marker is None or need.marker.evaluate(environment)
        ]
    return found


def locked_pins() -> dict[str, str]:
    """Each package's lines in requirements/*.lock: its version and its hashes."""
    pins: dict[str, str] = {}
    for path in sorted((ROOT / "requirements").glob("*.lock")):
        name = ""
        for line in path.read_text().splitlines(keepends=True):
            if line.startswith("#"):
                continue
            if not line.startswith(" "):
                name = canonicalize_name(line.partition("==")[0])
            pins[name] = pins.get(name, "") + line
    return pins


def install(folder: Path, target: Path) -> None:
    """Install the wheels of packages that this machine lacks, or has in a version not accepted.

    Exits with what is missing if the machine and the folder together do not have all.
    """
    if not folder.is_dir():
        sys.exit(f"There is no folder {folder}. `make gpu` makes one, where there is a network.")
    accepted = accepted_versions()
    here = installed_versions(sys.path)
    wheels = [
        wheel
        for wheel in sorted(folder.glob("*.whl"))
        if not _satisfies(parse_wheel_filename(wheel.name)[0], here, accepted)
    ]
    target.mkdir(parents=True)
    if wheels:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += ["--no-cache-dir", "--disable-pip-version-check", "--target", str(target)]
        if subprocess.run([*command, *map(str, wheels)], check=False).returncode:
            python = f"{sys.version_info.major}.{sys.version_info.minor}"
            sys.exit(
                f"pip cannot install the wheels of {folder} here. This machine has Python {python}:"
                f" `make gpu GPU_PYTHON={python}` fetches wheels for it, where there is a network."
            )
    now = {**here, **installed_versions([str(target)])}
    missing = [
        f"{accepted.get(name, name)} (found: {now.get(name, 'none')})"
        for name in required_names()
        if not _satisfies(name, now, accepted)
    ]
    if missing:
        sys.exit(
            f"Neither this machine nor {folder} has {', '.join(missing)}. "
            "Run `make gpu` again where there is a network."
        )


def accepted_versions() -> dict[str, Requirement]:
    """pyproject.toml's requirement for each direct dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return {
        canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)
    }


def installed_versions(path: list[str]) -> dict[str, str]:
    return dict(_versions(path))


def _versions(path: list[str]) -> Iterator[tuple[str, str]]:
    for found in distributions(path=path):
        if found.metadata["Name"]:
            yield canonicalize_name(found.metadata["Name"]), found.version


def _satisfies(
    name: str, installed: Mapping[str, str], accepted: Mapping[str, Requirement]
) -> bool:
    if name not in installed:
        return False
    requirement = accepted.get(canonicalize_name(name))
    return requirement is None or requirement.specifier.contains(installed[name], prereleases=True)


if __name__ == "__main__":
    main()
