"""The bytes of single tokens, for the ``bytes`` of log-probabilities.

Joined, the bytes of a SentencePiece text's tokens begin with the space that its decoder strips.
"""

import re

from tokenizers import Tokenizer

from headrace.engine.tokenization.byte_level import byte_of_character, decoder_kinds, written_bytes

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"
"""SentencePiece's space character."""


class TokenBytes(dict[int, bytes]):
    """The bytes of each token, looked up when first needed; empty for ids without a token."""

    def __init__(self, backend: Tokenizer) -> None:
        super().__init__()
        self._backend = backend
        self._kinds = decoder_kinds(backend)
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
            return written_bytes(token, self._byte_of)
        byte = _BYTE_TOKEN.fullmatch(token) if "ByteFallback" in self._kinds else None
        if byte is not None:
            return bytes.fromhex(byte[1])
        return (token.replace(_SPACE, " ") if self._marks_spaces else token).encode()
