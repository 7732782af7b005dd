"""Names for new replicas. Knows no store."""

import secrets

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without those that are taken for one another."""


def new_replica_id(service: str, revision: int) -> str:
    """``SERVICE-NUMBER-xxxxx``; the caller makes sure that there was none like it."""
    return f"{service}-{revision}-{''.join(secrets.choice(_LETTERS) for _ in range(5))}"
