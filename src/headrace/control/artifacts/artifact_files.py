"""Lists the files of a folder, and packs it for a download. Symbolic links are not followed."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

_CHUNK_NUM_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A regular file of an artifact."""

    path: str
    """Relative to the artifact."""
    num_bytes: int


def list_files(folder: Path, limit: int) -> list[ArtifactFile]:
    """The first ``limit`` regular files."""
    files = (
        ArtifactFile(name, path.lstat().st_size)
        for name, path in _entries(folder)
        if path.is_file() and not path.is_symlink()
    )
    return list(islice(files, limit))


def find_file(folder: Path, path: str) -> Path | None:
    """The regular file at the relative ``path``; None if there is none inside the folder."""
    if "\0" in path:
        return None
    root = folder.resolve()
    found = root / path
    is_inside = found.resolve() == found and found.is_relative_to(root)
    return found if is_inside and found.is_file() else None


def pack(folder: Path) -> Iterator[bytes]:
    """A tar archive of the folder, in pieces. Raises OSError if a file changes meanwhile."""
    for name, path in _entries(folder):
        stat = path.lstat()
        entry = tarfile.TarInfo(name)
        entry.mode = stat.st_mode & 0o777
        entry.mtime = int(stat.st_mtime)
        if path.is_symlink():
            entry.type = tarfile.SYMTYPE
            entry.linkname = os.readlink(path)
            yield _header(entry)
        elif path.is_dir():
            entry.type = tarfile.DIRTYPE
            yield _header(entry)
        elif path.is_file():
            entry.size = stat.st_size
            yield _header(entry)
            yield from _content(path, stat.st_size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """All entries below ``folder`` with their relative names, by name; a folder before its own."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(parent, name)
            yield path.relative_to(folder).as_posix(), path


def _header(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(path: Path, num_bytes: int) -> Iterator[bytes]:
    """Exactly ``num_bytes``, and the padding."""
    rest = num_bytes
    with path.open("rb") as file:
        while rest > 0:
            piece = file.read(min(rest, _CHUNK_NUM_BYTES))
            if not piece:
                raise OSError(f"{path.name} became shorter while it was read.")
            rest -= len(piece)
            yield piece
    yield bytes(-num_bytes % tarfile.BLOCKSIZE)
