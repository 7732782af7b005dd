"""The API keys of a service, stored only as SHA-256 digests."""

import hashlib
from collections.abc import Sequence

NUM_DIGEST_DIGITS = 8
"""Of a key whose name is not known; they reveal nothing about a key."""


def hash_key(key: bytes) -> str:
    """The digest as the route table holds it."""
    return hashlib.sha256(key).hexdigest()


class KeySet:
    """The keys that authorize requests to one service; an empty set authorizes every request."""

    __slots__ = ("_names",)

    def __init__(self, key_hashes: Sequence[str], names: Sequence[str] = ()) -> None:
        """``names``: of the keys, in their order; empty if they are not known."""
        digests = [key_hash.lower() for key_hash in key_hashes]
        if len(names) != len(digests):
            names = [f"sha256:{digest[:NUM_DIGEST_DIGITS]}" for digest in digests]
        self._names = dict(zip(digests, names, strict=True))

    def admits(self, authorization: bytes | None) -> bool:
        """Whether ``Bearer KEY``, or a bare key, is in the set."""
        return not self._names or self.name_of(authorization) is not None

    def name_of(self, authorization: bytes | None) -> str | None:
        """The name of ``Bearer KEY``, or of a bare key; None if it is not in the set.

        The time of the look-up depends on the digest alone, which reveals nothing about a key: a
        guess that shares a prefix with a key shares no prefix of its digest.
        """
        if not authorization:
            return None
        scheme, _, key = authorization.partition(b" ")
        given = key if scheme.lower() == b"bearer" else authorization
        return self._names.get(hash_key(given.strip()))
