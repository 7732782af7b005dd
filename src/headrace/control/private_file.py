"""Files that only their owner may read, replaced whole. Knows no secret and no format."""

import os
import tempfile
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Put ``text`` in the file's place at once, so that nobody reads half of it."""
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before what was written
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
