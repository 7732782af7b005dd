"""Identifies the content of full blocks: a hash chain over token ids that starts from the request's
salt and adapter.

Equal hashes mean equal tokens at equal positions after equal prefixes.
"""

import hashlib
from array import array
from typing import NewType

BlockHash = NewType("BlockHash", bytes)
"""A SHA-256 digest. A cryptographic hash, so that a prompt cannot be crafted to collide with
another user's blocks and read from that user's cache."""

_PACKED = "I"
"""Token ids as 32-bit unsigned integers."""
_TOKEN_BYTES = array(_PACKED).itemsize


class BlockHashChain:
    """The hashes of one request's full blocks, computed once and on demand."""

    __slots__ = ("_block_size", "_hashes", "_root")

    def __init__(self, block_size: int, salt: str, adapter_id: int = 0) -> None:
        self._block_size = block_size
        self._root = root_hash(salt, adapter_id)
        self._hashes: list[BlockHash] = []

    def hash_at(self, token_ids: list[int], index: int) -> BlockHash:
        """The hash of block ``index``, which must be full of known tokens."""
        if index >= len(self._hashes):
            self._extend(token_ids, index + 1)
        return self._hashes[index]

    def hashes(self, token_ids: list[int], first: int, end: int) -> list[BlockHash]:
        """The hashes of blocks [first, end), all of which must be full of known tokens."""
        if end > len(self._hashes):
            self._extend(token_ids, end)
        return self._hashes[first:end]

    def _extend(self, token_ids: list[int], end: int) -> None:
        first = len(self._hashes)
        size = self._block_size
        if end * size > len(token_ids):
            raise ValueError(
                f"block {end - 1} is not full: {len(token_ids)} tokens fill "
                f"{len(token_ids) // size} blocks of {size}"
            )
        packed = array(_PACKED, token_ids[first * size : end * size]).tobytes()
        stride = size * _TOKEN_BYTES
        parent = self._hashes[-1] if self._hashes else self._root
        for offset in range(0, len(packed), stride):
            parent = hash_block(parent, packed[offset : offset + stride])
            self._hashes.append(parent)


def root_hash(salt: str, adapter_id: int = 0) -> BlockHash:
    """The parent of the first block's hash. It differs between salts and between adapters, so they
    share no chain. adapter_id: 0 for none."""
    head = b"headrace block chain\0"
    if adapter_id:
        head = b"headrace block chain of adapter\0" + adapter_id.to_bytes(8, "big")
    return BlockHash(hashlib.sha256(head + salt.encode(errors="surrogatepass")).digest())


def hash_block(parent: BlockHash, packed_token_ids: bytes) -> BlockHash:
    """The hash of a full block that follows ``parent``."""
    return BlockHash(hashlib.sha256(parent + packed_token_ids).digest())
