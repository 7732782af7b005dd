"""What things may be called. Knows no store."""

import re

from headrace.control.errors import InvalidNameError

MAX_LENGTH = 63

RESERVED = frozenset(
    {"admin", "api", "gateway", "headrace", "health", "localhost", "metrics", "stats", "v1", "www"}
)
"""Hosts and first segments of paths that lead to the platform itself, or may one day."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


def check_service_name(name: str) -> None:
    """A DNS label, because it is a host name: ``NAME.localhost``. Raises InvalidNameError."""
    if len(name) > MAX_LENGTH:
        raise InvalidNameError(
            f"The name of a service has at most {MAX_LENGTH} characters, because it is a host "
            f"name; this one has {len(name)}."
        )
    if not _LABEL.match(name):
        raise InvalidNameError(
            f"'{name}' cannot name a service: it is a host name, so it has lowercase letters, "
            f"digits and '-' only, and begins and ends with a letter or digit.{_suggestion(name)}"
        )
    if name.isdigit():
        raise InvalidNameError(
            f"'{name}' cannot name a service: a host name of digits only looks like an address. "
            f"Try 'service-{name}'."
        )
    if name in RESERVED:
        raise InvalidNameError(
            f"'{name}' is kept for the platform itself. Try 'my-{name}', or what it serves."
        )


def check_plain_name(name: str, what: str) -> None:
    """For tokens, keys and secrets; ``what`` as in "a token". Raises InvalidNameError."""
    if len(name) > MAX_LENGTH:
        raise InvalidNameError(
            f"The name of {what} has at most {MAX_LENGTH} characters; this one has {len(name)}."
        )
    if not _PLAIN.match(name):
        raise InvalidNameError(
            f"'{name}' cannot name {what}: letters, digits, '_', '-' and '.' only, and it begins "
            "with a letter, digit or '_'."
        )


def _suggestion(name: str) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MAX_LENGTH].rstrip("-")
    if not _LABEL.match(label) or label.isdigit() or label in RESERVED:
        return ""
    return f" Try '{label}'."
