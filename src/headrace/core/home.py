"""The folder of persistent data: models, compiled kernels, state."""

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from headrace.core.errors import InvalidInputError


def headrace_home(environ: Mapping[str, str] = os.environ) -> Path:
    """``$HEADRACE_HOME``, or ``~/.headrace``. The folder may not exist yet."""
    named = environ.get("HEADRACE_HOME")
    return Path(named).expanduser() if named else Path.home() / ".headrace"


def make_home(home: Path) -> None:
    """Create the folder with mode 0700, or take access from other users if it exists.

    It contains tokens, logs and artifacts. Raises InvalidInputError if it belongs to another user,
    and OSError if it cannot be created.
    """
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(home)) from None
    status = home.stat()
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise InvalidInputError(
            f"{home} belongs to another user (uid {status.st_uid}). "
            "Set HEADRACE_HOME to a folder of your own."
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        home.chmod(0o700)
