"""Who may call a service: API keys, known only by their SHA-256.

Knows no HTTP beyond the shape of an Authorization header, and never keeps or shows a key.
"""

import hashlib
from collections.abc import Iterable


def hash_key(key: bytes) -> str:
    """As it stands in the route table."""
    return hashlib.sha256(key).hexdigest()


class KeySet:
    """The keys that open one service; none at all leave it open to everybody."""

    __slots__ = ("_digests",)

    def __init__(self, key_hashes: Iterable[str]) -> None:
        self._digests = frozenset(key_hash.lower() for key_hash in key_hashes)

    def admits(self, authorization: bytes | None) -> bool:
        """Whether ``Bearer KEY``, or a bare key, is one of them.

        How long the look-up takes depends on a digest only, from which no key can be found:
        a guess that shares its beginning with a key shares nothing of its digest.
        """
        if not self._digests:
            return True
        if not authorization:
            return False
        scheme, _, key = authorization.partition(b" ")
        given = key if scheme.lower() == b"bearer" else authorization
        return hash_key(given.strip()) in self._digests
