"""The bytes that one token stands for, as log-probabilities show them.

Knows how vocabularies write bytes and spaces, but not texts: joined, the bytes of a SentencePiece
text's tokens begin with the space that its decoder strips.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"
"""SentencePiece's mark for a space."""


class TokenBytes(dict[int, bytes]):
    """The bytes of each token, looked up when first needed; empty for ids that are no token."""

    def __init__(self, backend: Tokenizer) -> None:
        super().__init__()
        self._backend = backend
        self._kinds = frozenset(_decoder_kinds(backend))
        self._marks_spaces = not self._kinds.isdisjoint({"Metaspace", "Replace", "ByteFallback"})
        self._byte_of = byte_of_character() if "ByteLevel" in self._kinds else {}
        self._special = {
            token_id: token.content
            for token_id, token in backend.get_added_tokens_decoder().items()
            if token.special
        }

    def __missing__(self, token_id: int) -> bytes:
        found = self._find(token_id)
        self[token_id] = found
        return found

    def _find(self, token_id: int) -> bytes:
        if token_id in self._special:
            return self._special[token_id].encode()
        if token_id < 0:
            return b""
        token = self._backend.id_to_token(token_id) or ""
        if self._byte_of:
            try:
                return bytes([self._byte_of[character] for character in token])
            except KeyError:  # an added token that is written as it is
                return token.encode()
        byte = _BYTE_TOKEN.fullmatch(token) if "ByteFallback" in self._kinds else None
        if byte is not None:
            return bytes.fromhex(byte[1])
        return (token.replace(_SPACE, " ") if self._marks_spaces else token).encode()


def byte_of_character() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, others for characters from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    table.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return table


def _decoder_kinds(backend: Tokenizer) -> Iterator[str]:
    """The names of the decoders that work one after the other."""
    if backend.decoder is None:
        return
    state: dict[str, Any] = json.loads(backend.decoder.__getstate__())
    parts = [state]
    for part in parts:
        if part["type"] == "Sequence":
            parts.extend(part["decoders"])
        else:
            yield part["type"]
