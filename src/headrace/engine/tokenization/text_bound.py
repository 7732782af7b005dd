"""A lower bound of a text's number of tokens, to reject texts that cannot fit without tokenizing.

The bound is derived from the tokenizer's components. There is none if a component may drop text, or
join an unknown amount of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE

from headrace.engine.tokenization.byte_level import byte_of_character

_LARGEST_COMPOSITION = 4
"""The maximum number of characters that Unicode composition (NFC, NFKC) joins into one: the length
of the longest canonical decomposition."""
_FORMS = {"NFC": _LARGEST_COMPOSITION, "NFKC": _LARGEST_COMPOSITION, "NFD": 1, "NFKD": 1}
_LENGTH_KEEPING_NORMALIZERS = frozenset({"Lowercase", "Prepend"})
_TEXT_KEEPING_PRE_TOKENIZERS = frozenset({"ByteLevel", "Digits", "Metaspace", "UnicodeScripts"})
_CONTROL_CHARACTERS = frozenset(map(chr, [*range(0x20), 0x7F]))
_CONTINUATION_BYTES = frozenset(range(0x80, 0xC0))
"""One of these is in every character of more than one byte."""

State = Mapping[str, Any]
"""A part of a tokenizer, as tokenizer.json describes it."""


@dataclass(frozen=True, slots=True)
class TextBound:
    """The bound of one tokenizer."""

    max_characters_per_token: int
    dropped_characters: str = ""
    """Characters without a token, which the tokenizer drops."""

    def min_num_tokens(self, text: str) -> int:
        """The text has at least this many tokens."""
        num_characters = len(text) - sum(map(text.count, self.dropped_characters))
        return -(-num_characters // self.max_characters_per_token)


def text_bound(backend: Tokenizer) -> TextBound | None:
    """The tokenizer's bound; None if none can be derived."""
    normalizers = _parts(_state(backend.normalizer), "normalizers")
    pre_tokenizers = _parts(_state(backend.pre_tokenizer), "pretokenizers")
    if not isinstance(backend.model, BPE) or not all(map(_keeps_text, pre_tokenizers)):
        return None
    added = backend.get_added_tokens_decoder().values()
    if any(token.lstrip or token.rstrip for token in added):
        return None  # they include any amount of white space
    vocabulary = backend.get_vocab(with_added_tokens=True)
    dropped = _dropped_characters(backend.model, normalizers, pre_tokenizers, vocabulary)
    if dropped is None:
        return None
    longest = max(map(len, vocabulary))
    if backend.normalizer is not None:
        # Added tokens may be matched, normalized, in normalized text.
        contents = (backend.normalizer.normalize_str(token.content) for token in added)
        longest = max(longest, max(map(len, contents), default=0))
    for normalizer in normalizers:
        shrinking = _shrinking(normalizer)
        if shrinking is None:
            return None
        longest *= shrinking
    return TextBound(longest, dropped)


def _state(part: Any) -> State | None:
    return None if part is None else json.loads(part.__getstate__())


def _parts(state: State | None, key: str) -> list[State]:
    """The single steps, with nested sequences flattened."""
    if state is None:
        return []
    if state["type"] != "Sequence":
        return [state]
    return [part for each in state[key] for part in _parts(each, key)]


def _shrinking(normalizer: State) -> int | None:
    """The maximum number of characters that it joins into one; None if unlimited."""
    kind = normalizer["type"]
    if kind == "Replace":
        text = normalizer["pattern"].get("String")
        keeps_length = text is not None and len(normalizer["content"]) >= len(text)
        return 1 if keeps_length else None
    return 1 if kind in _LENGTH_KEEPING_NORMALIZERS else _FORMS.get(kind)


def _keeps_text(pre_tokenizer: State) -> bool:
    kind: str = pre_tokenizer["type"]
    if kind in ("Split", "Punctuation"):
        return bool(pre_tokenizer["behavior"] != "Removed")
    return kind in _TEXT_KEEPING_PRE_TOKENIZERS


def _dropped_characters(
    model: BPE, normalizers: list[State], pre_tokenizers: list[State], vocabulary: Mapping[str, int]
) -> str | None:
    """Characters without a token; None if any may be dropped or fused into one unknown token."""
    if not any(each["type"] == "ByteLevel" for each in pre_tokenizers):
        has_bytes = all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
        return "" if model.byte_fallback and has_bytes else None
    missing = {
        byte for character, byte in byte_of_character().items() if character not in vocabulary
    }
    if missing & _CONTINUATION_BYTES:
        return None
    dropped = {chr(byte) for byte in missing if byte < 0x80}
    if not dropped:
        return ""
    # No normal form maps another character to these.
    is_known = dropped <= _CONTROL_CHARACTERS and all(
        each["type"] in _FORMS for each in normalizers
    )
    return "".join(sorted(dropped)) if is_known and model.unk_token is None else None
