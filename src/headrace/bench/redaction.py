"""The command as it was typed, fit to be kept in a file: its secrets are taken out.

Knows which options hold secrets by their names.
"""

import re
from collections.abc import Sequence

HIDDEN = "***"

_SECRET_OPTION = re.compile(r"^--?[\w-]*(key|token|secret|password|authorization|header)$", re.I)
_NOT_SECRET = re.compile(r"^--?(max|num|min)[\w-]*$", re.I)
"""--max-token is about tokens of text."""
_USER_IN_URL = re.compile(r"(\w+://)\S*@")
"""Up to the last @: a password may hold slashes and more of them."""
_KEY_IN_URL = re.compile(r"([?&][\w-]*(?:key|token|secret|password|sig)[\w-]*=)[^&#\s]+", re.I)
_KEY_IN_JSON = re.compile(
    r'("[^"]*(?:key|token|secret|password|authorization)[^"]*"\s*:\s*)"(?:[^"\\]|\\.)*"', re.I
)
"""A member of an object whose value is text, as in ``--extra-body '{"api_key": "..."}'``."""


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """The arguments, with ``***`` where a key, a token or a password stood."""
    kept: list[str] = []
    hides_next = False
    for argument in arguments:
        if hides_next:
            kept.append(HIDDEN)
            hides_next = False
            continue
        name, equals, _ = argument.partition("=")
        is_secret = bool(_SECRET_OPTION.match(name)) and not _NOT_SECRET.match(name)
        if is_secret and equals:
            kept.append(f"{name}={HIDDEN}")
            continue
        hides_next = is_secret
        kept.append(_KEY_IN_JSON.sub(rf'\g<1>"{HIDDEN}"', url_without_secrets(argument)))
    return kept


def url_without_secrets(text: str) -> str:
    """The text, with user names, passwords and keys taken out of the URLs in it."""
    return _KEY_IN_URL.sub(rf"\g<1>{HIDDEN}", _USER_IN_URL.sub(rf"\g<1>{HIDDEN}@", text))
