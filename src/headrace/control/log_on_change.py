"""Logs an error when it first occurs, changes or is resolved, instead of at every retry."""

import logging


class ChangeLogger:
    """Tracks the last error of each part of a periodic task."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._errors: dict[str, str] = {}

    def failed(self, part: str, error: str) -> None:
        if self._errors.get(part) != error:
            self._errors[part] = error
            self._logger.error("%s: %s", part, error)

    def succeeded(self, part: str) -> None:
        if self._errors.pop(part, None) is not None:
            self._logger.info("%s: recovered", part)
