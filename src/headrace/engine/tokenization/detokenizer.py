"""Detokenizes incrementally: the pieces joined are the text of all tokens.

Text is emitted as soon as no later token can change it: a character whose bytes are spread over
tokens when it is complete.
"""

import codecs
import re
from typing import Protocol

from tokenizers import Tokenizer

from headrace.engine.tokenization.byte_level import byte_of_character, decoder_kinds, written_bytes

REPLACEMENT = "\ufffd"
MAX_HELD_TOKENS = 4
"""A character has at most four bytes, so a replacement character that persists longer is text."""
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class Detokenizer(Protocol):
    """The text of one output, piece by piece."""

    def push(self, token_id: int) -> str:
        """The text that has become final; often one token's, sometimes none."""
        ...

    def flush(self) -> str:
        """The text that was held back, after the last token."""
        ...


class DetokenizerFactory:
    """Creates detokenizers for one tokenizer, which share a cache of its tokens' bytes."""

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        self._kinds = decoder_kinds(backend)
        self._bytes = _TokenBytes(backend)
        self._special_ids = frozenset(
            token_id
            for token_id, token in backend.get_added_tokens_decoder().items()
            if token.special
        )

    def create(self, skip_special_tokens: bool = True) -> Detokenizer:
        skipped: frozenset[int] = self._special_ids if skip_special_tokens else frozenset()
        if self._kinds == {"ByteLevel"}:
            return _ByteLevelDetokenizer(self._bytes, skipped)
        return _WindowDetokenizer(self._backend, skipped, "ByteFallback" in self._kinds)


class _ByteLevelDetokenizer:
    """For byte-level tokenizers: the text is the joined bytes of the tokens."""

    def __init__(self, token_bytes: "_TokenBytes", skipped_ids: frozenset[int]) -> None:
        self._token_bytes = token_bytes
        self._skipped_ids = skipped_ids
        # Holds back an incomplete character, and replaces invalid bytes as Rust does.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        if token_id in self._skipped_ids:
            return ""
        return self._decoder.decode(self._token_bytes[token_id])

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


class _WindowDetokenizer:
    """For all other decoders: decodes a short window and emits what it adds to the previous one.

    The window is the tokens of the last emitted piece, so that the decoder does not treat the next
    ones as the beginning of a text, and the tokens since then.
    """

    def __init__(
        self, backend: Tokenizer, skipped_ids: frozenset[int], has_byte_tokens: bool
    ) -> None:
        self._backend = backend
        self._skipped_ids = skipped_ids
        self._has_byte_tokens = has_byte_tokens
        self._context: list[int] = []
        self._context_text = ""
        self._pending: list[int] = []

    def push(self, token_id: int) -> str:
        token = self._backend.id_to_token(token_id)
        if token is None or token_id in self._skipped_ids:
            return ""
        self._pending.append(token_id)
        if self._has_byte_tokens and _BYTE_TOKEN.fullmatch(token):
            # A run of byte tokens is decoded as a whole: one invalid byte replaces all of it.
            return ""
        text = self._pending_text()
        if text.endswith(REPLACEMENT) and len(self._pending) < MAX_HELD_TOKENS:
            return ""
        return self._take(text)

    def flush(self) -> str:
        return self._take(self._pending_text()) if self._pending else ""

    def _pending_text(self) -> str:
        return self._decode(self._context + self._pending)[len(self._context_text) :]

    def _take(self, text: str) -> str:
        if text:
            self._context = self._pending
            self._context_text = self._decode(self._context)
            self._pending = []
        return text

    def _decode(self, token_ids: list[int]) -> str:
        return self._backend.decode(token_ids, skip_special_tokens=False)


class _TokenBytes(dict[int, bytes]):
    """The bytes of each token of a byte-level tokenizer, looked up when first needed."""

    def __init__(self, backend: Tokenizer) -> None:
        super().__init__()
        self._backend = backend
        self._byte_of = byte_of_character()

    def __missing__(self, token_id: int) -> bytes:
        found = written_bytes(self._backend.id_to_token(token_id) or "", self._byte_of)
        self[token_id] = found
        return found
