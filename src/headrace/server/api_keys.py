"""Validates API keys and reads them from a file. Errors never contain a key."""

import logging
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from headrace.core.errors import InvalidInputError, InvalidParameterError

_KEY = re.compile(r"[!-~]+")
"""Printable ASCII without spaces: what an Authorization header can carry unchanged."""

logger = logging.getLogger("headrace.server")


def check_api_keys(param: str, keys: Iterable[str]) -> None:
    """Raises InvalidParameterError for a key that no client could send."""
    for key in keys:
        if not _KEY.fullmatch(key):
            raise InvalidParameterError(
                param, "has an invalid key: use printable ASCII characters without spaces"
            )


def read_api_key_file(path: Path) -> tuple[str, ...]:
    """The file's keys, one per line. Raises InvalidInputError for an invalid key or an empty file.

    Logs a warning if the file is readable by every user.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        mode = path.stat().st_mode
    except OSError as error:
        raise InvalidInputError(f"Cannot read --api-key-file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"--api-key-file {path} is not a UTF-8 text file.") from error
    keys: list[str] = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if not _KEY.fullmatch(line):
            raise InvalidInputError(
                f"--api-key-file {path}, line {number}: invalid key. Use printable ASCII "
                "characters without spaces."
            )
        keys.append(line)
    if not keys:
        raise InvalidInputError(f"--api-key-file {path} contains no keys. Add one key per line.")
    if mode & stat.S_IROTH:
        logger.warning("API key file %s is readable by every user. Run: chmod 600 %s", path, path)
    return tuple(keys)
