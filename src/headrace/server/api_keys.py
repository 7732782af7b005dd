"""The keys that a server accepts: from options, and from a file that only its owner should read.

No error shows a key. Knows no requests; auth.py checks those.
"""

import logging
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from headrace.core.errors import HeadraceError, InvalidParameterError

_KEY = re.compile(r"[!-~]+")
"""What can be sent in an Authorization header and is not cut there."""

logger = logging.getLogger("headrace.server")


def check_api_keys(param: str, keys: Iterable[str]) -> None:
    """Raises InvalidParameterError for a key that no request could send."""
    for key in keys:
        if not _KEY.fullmatch(key):
            raise InvalidParameterError(
                param, "has a key with spaces or characters beyond printable ASCII"
            )


def read_api_key_file(path: Path) -> tuple[str, ...]:
    """The file's keys, one a line. Raises HeadraceError if there is none, and for what is no key.

    Logs a warning when every user of this machine can read the file.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        mode = path.stat().st_mode
    except OSError as error:
        raise HeadraceError(f"Cannot read --api-key-file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise HeadraceError(f"--api-key-file {path} is not a text file.") from error
    keys: list[str] = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if not _KEY.fullmatch(line):
            raise HeadraceError(
                f"--api-key-file {path}, line {number}: a key has no spaces and only printable "
                "ASCII characters."
            )
        keys.append(line)
    if not keys:
        raise HeadraceError(f"--api-key-file {path} has no keys. Write one a line.")
    if mode & stat.S_IROTH:
        logger.warning("Every user of this machine can read %s. Close it with: chmod 600", path)
    return tuple(keys)
