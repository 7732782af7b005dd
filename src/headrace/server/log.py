"""Where log lines go and which are printed. Nothing that is logged holds a prompt or a key."""

import logging

from headrace.server.config import LogLevel

_QUIET = ("uvicorn.error", "asyncio")
"""They tell of every start and stop at info, which the CLI says better."""


def configure_logging(level: LogLevel) -> None:
    """Print messages of this level and above on stderr."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn.access").addFilter(_drop_query)
    if level == "info":
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)


def _drop_query(record: logging.LogRecord) -> bool:
    """Leave out the query string, where some clients put their key."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            part.partition("?")[0] if isinstance(part, str) else part for part in record.args
        )
    return True
