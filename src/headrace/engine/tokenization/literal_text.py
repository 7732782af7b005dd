"""Encodes prompts in which some texts of special tokens are only text.

A chat template writes special tokens such as ``<|im_start|>``; a message that contains these
characters must not. Before rendering, ``hide`` replaces them in the messages by unpredictable
marks. After it, ``encode_batch`` reads what the template wrote as tokens, and the marks as
text.
"""

import functools
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import tokenizers
from tokenizers import AddedToken

from headrace.core.errors import ContextLengthError, InvalidRequestError
from headrace.engine.tokenization.tokenizer import Tokenizer

MAX_HIDDEN = 100_000
"""Special tokens in one prompt that are text; a mark is longer than most of them."""

_PIPED = re.compile(r"<[|｜].+[|｜]>", re.DOTALL)
"""Marks of roles and calls that some vocabularies, such as DeepSeek's, do not declare special."""

_T = TypeVar("_T")


def _is_control(token: AddedToken) -> bool:
    """Whether only a template may write this token. Others, such as ``<think>``, are text that
    templates look for in messages."""
    return bool(token.content) and (token.special or _PIPED.fullmatch(token.content) is not None)


@dataclass(slots=True)
class HiddenTokens:
    """The special tokens that are hidden in one prompt."""

    texts: dict[str, str] = field(default_factory=dict)
    """By mark."""
    _marks: dict[str, str] = field(default_factory=dict)
    """By text."""
    _num_hidden: int = 0

    def mark(self, text: str) -> str:
        """The mark that hides this special token."""
        self._num_hidden += 1
        if self._num_hidden > MAX_HIDDEN:
            raise InvalidRequestError(
                f"The prompt contains the texts of more than {MAX_HIDDEN} special tokens."
            )
        mark = self._marks.get(text)
        if mark is None:
            mark = self._marks[text] = f"\ue000{secrets.token_hex(8)}\ue001"
            self.texts[mark] = text
        return mark

    def show(self, text: str) -> str:
        """The text, without marks."""
        for mark, hidden in self.texts.items():
            text = text.replace(mark, hidden)
        return text


class LiteralText:
    """For one tokenizer. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.backend.get_added_tokens_decoder().values()
        texts = sorted((each.content for each in added if _is_control(each)), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, texts))) if texts else None

    def hide(self, value: _T, hidden: HiddenTokens) -> _T:
        """A JSON value, with marks in place of special tokens in its strings; itself if there are
        none. The marks are added to ``hidden``. Raises InvalidRequestError if there are too many.
        """
        if self._special is None:
            return value
        found: Any = value
        if isinstance(value, str):
            if self._special.search(value) is not None:
                found = self._special.sub(lambda match: hidden.mark(match[0]), value)
        elif isinstance(value, list):
            found = [self.hide(each, hidden) for each in value]
        elif isinstance(value, dict):
            found = {key: self.hide(each, hidden) for key, each in value.items()}
        return found  # type: ignore[no-any-return]

    def encode_batch(
        self,
        texts: Sequence[str],
        hidden: HiddenTokens,
        add_special_tokens: bool,
        max_model_len: int | None = None,
    ) -> list[list[int]]:
        """The token ids of each text; hidden tokens as text. Raises ContextLengthError for a text
        of ``max_model_len`` tokens or more."""
        reader = self._reader
        written = [
            hidden.show(text if self._special is None else self._special.sub(reader.sub, text))
            for text in texts
        ]
        encodings = reader.backend.encode_batch_fast(written, add_special_tokens=add_special_tokens)
        longest = max(map(len, encodings), default=0)
        if max_model_len is not None and longest >= max_model_len:
            raise ContextLengthError(longest, max_model_len)
        return [reader.original_ids(encoding) for encoding in encodings]

    @functools.cached_property
    def _reader(self) -> "_Reader":
        return _Reader(self._tokenizer.backend)


class _Reader:
    """A copy of the tokenizer that reads special tokens as text. For each, it has another,
    unpredictable token."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = tokenizers.Tokenizer.from_str(backend.to_str())
        self.backend.encode_special_tokens = True
        self._originals: dict[int, int] = {}
        """Token ids of the tokenizer, by those of the copy's own tokens."""
        self._spelled: dict[int, list[int]] = {}
        """By the id of a special token: its characters' tokens. Needed where the vocabulary's
        merges lead to a special token, as converted SentencePiece vocabularies may."""
        self._names: dict[str, str] = {}
        key = secrets.token_hex(8)
        for token_id, token in backend.get_added_tokens_decoder().items():
            if not _is_control(token):
                continue
            if not token.special:  # only special tokens can be read as text
                token.special = True
                self.backend.add_special_tokens([token])
            name = f"\ue000{key}:{token_id}\ue001"
            self._names[token.content] = name
            flags = {flag: getattr(token, flag) for flag in ("single_word", "lstrip", "rstrip")}
            self.backend.add_tokens([AddedToken(name, normalized=False, special=False, **flags)])
            own_id = self.backend.token_to_id(name)
            assert own_id is not None
            self._originals[own_id] = token_id
            characters = (backend.token_to_id(each) for each in token.content)
            self._spelled[token_id] = [
                each for each in characters if each is not None and each != token_id
            ]

    def original_ids(self, encoding: tokenizers.Encoding) -> list[int]:
        """The tokenizer's own ids. Special tokens are those that the copy's own tokens stand for
        and those that the post-processor adds, such as BOS."""
        token_ids = []
        for token_id, is_added in zip(encoding.ids, encoding.special_tokens_mask, strict=True):
            if token_id in self._spelled and not is_added:
                token_ids += self._spelled[token_id]
            else:
                token_ids.append(self._originals.get(token_id, token_id))
        return token_ids

    def sub(self, match: re.Match[str]) -> str:
        """The copy's own token that stands for a special token of the template."""
        return self._names[match[0]]
