"""The API keys of a service, stored only as SHA-256 digests."""

import hashlib
from collections.abc import Iterable


def hash_key(key: bytes) -> str:
    """The digest as the route table holds it."""
    return hashlib.sha256(key).hexdigest()


class KeySet:
    """The keys that authorize requests to one service; an empty set authorizes every request."""

    __slots__ = ("_digests",)

    def __init__(self, key_hashes: Iterable[str]) -> None:
        self._digests = frozenset(key_hash.lower() for key_hash in key_hashes)

    def admits(self, authorization: bytes | None) -> bool:
        """Whether ``Bearer KEY``, or a bare key, is in the set.

        The time of the look-up depends on the digest alone, which reveals nothing about a key: a
        guess that shares a prefix with a key shares no prefix of its digest.
        """
        if not self._digests:
            return True
        if not authorization:
            return False
        scheme, _, key = authorization.partition(b" ")
        given = key if scheme.lower() == b"bearer" else authorization
        return hash_key(given.strip()) in self._digests
