"""Makes tokens and keys, and the hashes by which they are known again. Keeps neither."""

import hashlib
import secrets

_NUM_BYTES = 32
_NUM_SHOWN = 8


def new_credential(kind: str) -> str:
    """``KIND_`` and 256 random bits: nobody guesses it, so that a plain hash is enough."""
    return f"{kind}_{secrets.token_hex(_NUM_BYTES)}"


def hash_credential(credential: str) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()


def shown_prefix(credential: str) -> str:
    """Enough to tell one's own keys apart, too little to guess one."""
    return credential[:_NUM_SHOWN]
