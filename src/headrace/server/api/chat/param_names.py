"""Names of fields in errors: an API's own, where its bodies become chat completion requests."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from headrace.core.errors import HeadraceError, InvalidParameterError


class ParamNames:
    """Rewrites the parameters of chat completions that errors name."""

    def __init__(self, rules: Sequence[tuple[str, str]]) -> None:
        """rules: regular expressions for the begin of a name, and what takes its place. The first
        that matches counts."""
        self._rules = [(re.compile(pattern), name) for pattern, name in rules]

    @contextmanager
    def apply(self) -> Iterator[None]:
        """Errors that leave the block name the API's own fields."""
        try:
            yield
        except InvalidParameterError as error:
            raise self.renamed(error) from None

    def renamed(self, error: HeadraceError) -> HeadraceError:
        if not isinstance(error, InvalidParameterError):
            return error
        for pattern, name in self._rules:
            match = pattern.match(error.param)
            if match is not None:
                param = match.expand(name) + error.param[match.end() :]
                rule = str(error).removeprefix(f"{error.param}: ")
                return InvalidParameterError(param, rule)
        return error
