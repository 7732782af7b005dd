"""Where Headrace keeps what outlives a process: models, compiled kernels, state."""

import os
from collections.abc import Mapping
from pathlib import Path


def headrace_home(environ: Mapping[str, str] = os.environ) -> Path:
    """``$HEADRACE_HOME``, or ``~/.headrace``. The folder may not exist yet."""
    named = environ.get("HEADRACE_HOME")
    return Path(named).expanduser() if named else Path.home() / ".headrace"
