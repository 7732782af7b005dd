"""Log-probabilities in the two shapes that OpenAI's API has: one for completions, one for chat.

Knows tokens only through the tokenizer. A token that is part of a character has no text of its own;
OpenAI writes its bytes instead: ``bytes:\\xf0\\x9f`` in completions, ``\\xf0\\x9f`` in chats.
"""

from collections import deque

from headrace.core.outputs import TokenLogprobs
from headrace.engine.tokenization.detokenizer import Detokenizer
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.http.json_body import JsonObject


def chat_logprobs(tokenizer: Tokenizer, entries: list[TokenLogprobs]) -> JsonObject:
    """{"content": [{token, logprob, bytes, top_logprobs}]}."""
    return {
        "content": [
            {
                **_chat_token(tokenizer, entry.token_id, entry.logprob),
                "top_logprobs": [
                    _chat_token(tokenizer, token_id, logprob) for token_id, logprob in entry.top
                ],
            }
            for entry in entries
        ]
    }


class CompletionLogprobsBuilder:
    """One choice's log-probabilities, as its tokens and its text come.

    A token's ``text_offset`` is where its text begins in the choice's text, in characters. It never
    lies behind the text: what is known of tokens whose text is held back, because a stop string may
    end in it, waits until the text comes or the choice ends.
    """

    def __init__(self, tokenizer: Tokenizer, detokenizer: Detokenizer) -> None:
        """``detokenizer``: a new one, of the kind that makes the choice's text."""
        self._tokenizer = tokenizer
        self._detokenizer = detokenizer
        self._num_chars = 0
        """Of the tokens' text so far, before stop strings."""
        self._text_length = 0
        """Of the text that the client has got."""
        self._waiting: deque[tuple[int, TokenLogprobs]] = deque()

    def add(self, entries: list[TokenLogprobs], text: str, is_last: bool) -> JsonObject | None:
        """What to send with this text: {"text_offset", "token_logprobs", "tokens",
        "top_logprobs"}, or None when no token is ready."""
        for entry in entries:
            self._waiting.append((self._num_chars, entry))
            self._num_chars += len(self._detokenizer.push(entry.token_id))
        self._text_length += len(text)
        offsets: list[int] = []
        ready: list[TokenLogprobs] = []
        while self._waiting and (is_last or self._waiting[0][0] <= self._text_length):
            offset, entry = self._waiting.popleft()
            offsets.append(min(offset, self._text_length))
            ready.append(entry)
        return self._to_json(offsets, ready) if ready else None

    def _to_json(self, offsets: list[int], entries: list[TokenLogprobs]) -> JsonObject:
        tokenizer = self._tokenizer
        return {
            "text_offset": offsets,
            "token_logprobs": [_finite(entry.logprob) for entry in entries],
            "tokens": [_completion_token(tokenizer, entry.token_id) for entry in entries],
            "top_logprobs": [_top(tokenizer, entry) for entry in entries],
        }


def _chat_token(tokenizer: Tokenizer, token_id: int, logprob: float) -> JsonObject:
    token_bytes = tokenizer.token_bytes(token_id)
    return {
        "token": _text(token_bytes) or _escape(token_bytes),
        "logprob": _finite(logprob),
        "bytes": list(token_bytes),
    }


def _completion_token(tokenizer: Tokenizer, token_id: int) -> str:
    token_bytes = tokenizer.token_bytes(token_id)
    text = _text(token_bytes)
    return "bytes:" + _escape(token_bytes) if text is None else text


def _top(tokenizer: Tokenizer, entry: TokenLogprobs) -> dict[str, float]:
    """Each token under a key of its own, the likeliest first. The drawn token is always among them,
    as OpenAI has it; where two are written alike, the second has vLLM's form ``token_id:N``."""
    top = {_completion_token(tokenizer, entry.token_id): _finite(entry.logprob)}
    for token_id, logprob in entry.top:
        if token_id == entry.token_id:
            continue
        key = _completion_token(tokenizer, token_id)
        top[f"token_id:{token_id}" if key in top else key] = _finite(logprob)
    return dict(sorted(top.items(), key=lambda item: -item[1]))


def _text(token_bytes: bytes) -> str | None:
    try:
        return token_bytes.decode()
    except UnicodeDecodeError:
        return None


def _escape(token_bytes: bytes) -> str:
    """As Python writes bytes, without the quotes."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != ord("\\") else f"\\x{byte:02x}"
        for byte in token_bytes
    )


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI's own floor for "as good as impossible" is -9999."""
    return max(logprob, -9999.0)
