"""Generates tokens and keys, and hashes them for the store."""

import hashlib
import secrets

_NUM_BYTES = 32
_NUM_SHOWN = 8


def new_credential(kind: str) -> str:
    """``KIND_`` and 256 random bits: unguessable, so that a hash without salt is enough."""
    return f"{kind}_{secrets.token_hex(_NUM_BYTES)}"


def hash_credential(credential: str) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()


def shown_prefix(credential: str) -> str:
    """Long enough to identify a key, too short to guess it."""
    return credential[:_NUM_SHOWN]
