"""Named folders that runs export and import.

An artifact is replaced atomically: a concurrent reader gets the old or the new version.
"""

import shutil
import uuid
from pathlib import Path

_PART = ".part-"


class ArtifactStore:
    """The artifacts of one platform."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if not path.name.startswith("."))

    def folder(self, name: str) -> Path | None:
        """Of the artifact's current version; None if it does not exist."""
        folder = (self._root / name).resolve()
        return folder if folder.is_dir() else None

    def load(self, name: str, into: Path) -> bool:
        """Copy it to ``into``; False, with an empty folder, if it does not exist.

        That is not an error: the first run that uses an artifact as a cache imports it too.
        """
        into.parent.mkdir(parents=True, exist_ok=True)
        source = self._root / name
        if not source.exists():
            into.mkdir(exist_ok=True, parents=True)
            return False
        shutil.copytree(source.resolve(), into, symlinks=True, dirs_exist_ok=True)
        return True

    def save(self, name: str, folder: Path) -> None:
        """Create or replace it with a copy of ``folder``."""
        self._root.mkdir(parents=True, exist_ok=True)
        version = self._root / f".{name}-{uuid.uuid4().hex}"
        shutil.copytree(folder, version, symlinks=True)
        link = self._root / f".{name}{_PART}{uuid.uuid4().hex}"
        link.symlink_to(version.name)
        current = self._root / name
        old = current.resolve() if current.is_symlink() else None
        link.replace(current)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
