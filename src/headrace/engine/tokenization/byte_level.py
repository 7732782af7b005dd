"""GPT-2's byte-to-character table, and how to detect whether a tokenizer uses it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer


def decoder_kinds(backend: Tokenizer) -> frozenset[str]:
    """The names of the tokenizer's decoders; "ByteLevel" alone means GPT-2's table."""
    return frozenset(_decoder_kinds(backend))


def byte_of_character() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, others for characters from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    table.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return table


def written_bytes(token: str, byte_of: Mapping[str, int]) -> bytes:
    """The bytes that a token's characters stand for, by the table above."""
    try:
        return bytes([byte_of[character] for character in token])
    except KeyError:  # an added token, stored as plain text
        return token.encode()


def _decoder_kinds(backend: Tokenizer) -> Iterator[str]:
    if backend.decoder is None:
        return
    state: dict[str, Any] = json.loads(backend.decoder.__getstate__())
    parts = [state]
    for part in parts:
        if part["type"] == "Sequence":
            parts.extend(part["decoders"])
        else:
            yield part["type"]
