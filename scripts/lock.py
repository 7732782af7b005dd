"""Write requirements.lock: the version in .venv of all that Headrace reaches, directly or not.

Knows nothing of newer versions: bring those into .venv first, and run the tests.
"""

import tomllib
from importlib.metadata import requires as requirements_of
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent

HEAD = """\
# What Headrace is tested with. `make` installs nothing else; `make lock` writes this file anew.
# Any build of PyTorch at its version will do (CPU or CUDA), so its pin names none.
"""


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["dev"], "pip"]
    pins = [f"{name}=={Version(version(name)).public}" for name in sorted(reached_from(direct))]
    (ROOT / "requirements.lock").write_text(HEAD + "\n".join(pins) + "\n")


def reached_from(lines: list[str]) -> set[str]:
    """Names of the packages that these requirements bring, on this machine."""
    seen: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        requirement = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        extras = sorted({""} | requirement.extras)
        new = {f"{name}[{extra}]" for extra in extras} - seen
        if not new:
            continue
        seen |= new
        for line in requirements_of(name) or []:
            inner = Requirement(line)
            if any(not inner.marker or inner.marker.evaluate({"extra": e}) for e in extras):
                inner.marker = None
                waiting.append(inner)
    return {entry.partition("[")[0] for entry in seen}


if __name__ == "__main__":
    main()
