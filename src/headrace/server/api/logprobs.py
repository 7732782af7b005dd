"""Log-probabilities in OpenAI's two formats, of completions and of chat completions.

A token that is not valid UTF-8 by itself is written as its bytes, as OpenAI does:
``bytes:\\xf0\\x9f`` in completions, ``\\xf0\\x9f`` in chat completions. With
return_tokens_as_token_ids, every token is written as ``token_id:N``.
"""

from collections import deque
from collections.abc import Sequence

from headrace.core.generation.outputs import TokenLogprobs
from headrace.engine.tokenization.detokenizer import Detokenizer
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.http.json_body import JsonObject


def chat_logprobs(
    tokenizer: Tokenizer, entries: list[TokenLogprobs], *, as_ids: bool = False
) -> JsonObject:
    """{"content": [{token, logprob, bytes, top_logprobs}]}."""
    return {
        "content": [
            {
                **_chat_token(tokenizer, entry.token_id, entry.logprob, as_ids),
                "top_logprobs": [
                    _chat_token(tokenizer, token_id, logprob, as_ids)
                    for token_id, logprob in entry.top
                ],
            }
            for entry in entries
        ]
    }


def prompt_logprobs(
    tokenizer: Tokenizer, entries: list[TokenLogprobs]
) -> list[dict[str, JsonObject] | None]:
    """As in vLLM's API: null for the first token, then by token id {logprob, rank, decoded_token},
    the prompt's own token first. The rank of another token is its place among those asked for."""
    found: list[dict[str, JsonObject] | None] = [None]
    for entry in entries:
        ranked = [(entry.token_id, entry.logprob, entry.rank)]
        ranked += [
            (token_id, logprob, place)
            for place, (token_id, logprob) in enumerate(entry.top, start=1)
            if token_id != entry.token_id
        ]
        found.append(
            {
                str(token_id): {
                    "logprob": _finite(logprob),
                    "rank": rank,
                    "decoded_token": tokenizer.token_text(token_id),
                }
                for token_id, logprob, rank in ranked
            }
        )
    return found


class CompletionLogprobsBuilder:
    """Builds one choice's log-probabilities incrementally.

    ``text_offset`` is the position of a token's text in the choice's text, in characters. It never
    exceeds the text sent so far: entries of tokens whose text is withheld for a possible stop
    string are withheld too, until the text is sent or the choice ends.
    """

    def __init__(
        self, tokenizer: Tokenizer, detokenizer: Detokenizer, *, as_ids: bool = False
    ) -> None:
        """detokenizer: a new one, configured like the one that makes the choice's text."""
        self._tokenizer = tokenizer
        self._as_ids = as_ids
        self._detokenizer = detokenizer
        self._num_chars = 0
        """Length of the detokenized text, including text withheld or cut at a stop string."""
        self._text_length = 0
        """Length of the text that was sent."""
        self._waiting: deque[tuple[int, int, TokenLogprobs | None]] = deque()
        """Offset, token id, entry; no entry for a prompt's first token."""

    def add_prompt(
        self,
        token_ids: Sequence[int],
        entries: Sequence[TokenLogprobs],
        text: str,
        detokenizer: Detokenizer,
    ) -> None:
        """Begin with an echoed prompt. The text of the next ``add`` begins with its text.

        entries: of its tokens from the second one on. detokenizer: a new one that writes special
        tokens. A special token that the text does not show, such as BOS, has no length.
        """
        special = self._tokenizer.special_tokens
        position = 0
        for token_id, entry in zip(token_ids, (None, *entries), strict=True):
            self._waiting.append((min(position, len(text)), token_id, entry))
            if token_id in special and not text.startswith(special[token_id], position):
                continue
            position += len(detokenizer.push(token_id))
        self._num_chars = len(text)

    def add(self, entries: list[TokenLogprobs], text: str, is_last: bool) -> JsonObject | None:
        """The entries to send with this text, {"text_offset", "token_logprobs", "tokens",
        "top_logprobs"}, or None if there are none."""
        for entry in entries:
            self._waiting.append((self._num_chars, entry.token_id, entry))
            self._num_chars += len(self._detokenizer.push(entry.token_id))
        self._text_length += len(text)
        ready: list[tuple[int, int, TokenLogprobs | None]] = []
        while self._waiting and (is_last or self._waiting[0][0] <= self._text_length):
            ready.append(self._waiting.popleft())
        return self._to_json(ready) if ready else None

    def _to_json(self, rows: list[tuple[int, int, TokenLogprobs | None]]) -> JsonObject:
        return {
            "text_offset": [min(offset, self._text_length) for offset, _, _ in rows],
            "token_logprobs": [entry and _finite(entry.logprob) for _, _, entry in rows],
            "tokens": [self._name(token_id) for _, token_id, _ in rows],
            "top_logprobs": [entry and self._top(entry) for _, _, entry in rows],
        }

    def _top(self, entry: TokenLogprobs) -> dict[str, float]:
        """Log-probabilities by token text, most likely first; the token itself is always included,
        as in OpenAI's API. Of two tokens with the same text, the less likely one has the key
        ``token_id:N``, as in vLLM."""
        top = {self._name(entry.token_id): _finite(entry.logprob)}
        for token_id, logprob in entry.top:
            if token_id == entry.token_id:
                continue
            key = self._name(token_id)
            top[_id_name(token_id) if key in top else key] = _finite(logprob)
        return dict(sorted(top.items(), key=lambda item: -item[1]))

    def _name(self, token_id: int) -> str:
        if self._as_ids:
            return _id_name(token_id)
        token_bytes = self._tokenizer.token_bytes(token_id)
        text = _text(token_bytes)
        return "bytes:" + _escape(token_bytes) if text is None else text


def _chat_token(tokenizer: Tokenizer, token_id: int, logprob: float, as_ids: bool) -> JsonObject:
    token_bytes = tokenizer.token_bytes(token_id)
    return {
        "token": _id_name(token_id) if as_ids else _text(token_bytes) or _escape(token_bytes),
        "logprob": _finite(logprob),
        "bytes": list(token_bytes),
    }


def _id_name(token_id: int) -> str:
    return f"token_id:{token_id}"


def _text(token_bytes: bytes) -> str | None:
    try:
        return token_bytes.decode()
    except UnicodeDecodeError:
        return None


def _escape(token_bytes: bytes) -> str:
    """As in Python's repr of bytes, without quotes."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != ord("\\") else f"\\x{byte:02x}"
        for byte in token_bytes
    )


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI's floor is -9999."""
    return max(logprob, -9999.0)
