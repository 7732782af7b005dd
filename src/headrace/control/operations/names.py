"""Rules for the names of resources."""

import re

from headrace.control.errors import InvalidNameError

MAX_LENGTH = 63

RESERVED = frozenset(
    {
        *("admin", "api", "dashboard", "gateway", "headrace", "health", "localhost", "metrics"),
        *("stats", "v1", "www"),
    }
)
"""Host names and path segments that belong to the platform, or are reserved for it."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


def check_service_name(name: str) -> None:
    """A DNS label, because it is a host name: ``NAME.localhost``. Raises InvalidNameError."""
    if len(name) > MAX_LENGTH:
        raise InvalidNameError(
            f"A service name is a host name and has at most {MAX_LENGTH} characters; this one has "
            f"{len(name)}."
        )
    if not _LABEL.match(name):
        raise InvalidNameError(
            f"'{name}' is not a valid service name. It is a host name: lowercase letters, digits "
            f"and '-', beginning and ending with a letter or digit.{_suggestion(name)}"
        )
    if name.isdigit():
        raise InvalidNameError(
            f"'{name}' is not a valid service name: a host name of digits looks like an address. "
            f"Try 'service-{name}'."
        )
    if name in RESERVED:
        raise InvalidNameError(f"'{name}' is a reserved name. Try 'my-{name}'.")


def check_plain_name(name: str, what: str) -> None:
    """For tokens, keys and secrets; ``what`` as in "a token". Raises InvalidNameError."""
    if len(name) > MAX_LENGTH:
        raise InvalidNameError(
            f"The name of {what} has at most {MAX_LENGTH} characters; this one has {len(name)}."
        )
    if not _PLAIN.match(name):
        raise InvalidNameError(
            f"'{name}' is not a valid name for {what}. Use letters, digits, '_', '-' and '.', "
            "beginning with a letter, digit or '_'."
        )


def _suggestion(name: str) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MAX_LENGTH].rstrip("-")
    if not _LABEL.match(label) or label.isdigit() or label in RESERVED:
        return ""
    return f" Try '{label}'."
