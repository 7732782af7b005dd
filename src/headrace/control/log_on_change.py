"""Says what goes wrong when it begins and when it ends, not each time it is tried in between."""

import logging


class LogOnce:
    """Remembers what each part of some work suffers from."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._suffered: dict[str, str] = {}

    def failed(self, part: str, why: str) -> None:
        if self._suffered.get(part) != why:
            self._suffered[part] = why
            self._logger.error("%s: %s", part, why)

    def worked(self, part: str) -> None:
        if self._suffered.pop(part, None) is not None:
            self._logger.info("%s: works again", part)
