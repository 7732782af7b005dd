"""Log-probabilities in OpenAI's two formats, of completions and of chat completions.

A token that is not valid UTF-8 by itself is written as its bytes, as OpenAI does:
``bytes:\\xf0\\x9f`` in completions, ``\\xf0\\x9f`` in chat completions.
"""

from collections import deque

from headrace.core.generation.outputs import TokenLogprobs
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
    """Builds one choice's log-probabilities incrementally.

    ``text_offset`` is the position of a token's text in the choice's text, in characters. It never
    exceeds the text sent so far: entries of tokens whose text is withheld for a possible stop
    string are withheld too, until the text is sent or the choice ends.
    """

    def __init__(self, tokenizer: Tokenizer, detokenizer: Detokenizer) -> None:
        """detokenizer: a new one, configured like the one that makes the choice's text."""
        self._tokenizer = tokenizer
        self._detokenizer = detokenizer
        self._num_chars = 0
        """Length of the detokenized text, including text withheld or cut at a stop string."""
        self._text_length = 0
        """Length of the text that was sent."""
        self._waiting: deque[tuple[int, TokenLogprobs]] = deque()

    def add(self, entries: list[TokenLogprobs], text: str, is_last: bool) -> JsonObject | None:
        """The entries to send with this text, {"text_offset", "token_logprobs", "tokens",
        "top_logprobs"}, or None if there are none."""
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
    """Log-probabilities by token text, most likely first; the sampled token is always included, as
    in OpenAI's API. Of two tokens with the same text, the less likely one has the key
    ``token_id:N``, as in vLLM."""
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
    """As in Python's repr of bytes, without quotes."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != ord("\\") else f"\\x{byte:02x}"
        for byte in token_bytes
    )


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI's floor is -9999."""
    return max(logprob, -9999.0)
