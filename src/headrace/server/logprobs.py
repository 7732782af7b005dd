"""Log-probabilities in the two shapes that OpenAI's API has: one for completions, one for chat.

Knows tokens only through the tokenizer.
"""

from headrace.core.outputs import TokenLogprobs
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.json_types import JsonObject


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


def completion_logprobs(
    tokenizer: Tokenizer, entries: list[TokenLogprobs], text_offset: int
) -> JsonObject:
    """{"text_offset", "token_logprobs", "tokens", "top_logprobs"}; offsets in characters of the
    tokens' own texts, the first of them at ``text_offset``. The drawn token is always among the
    top ones, as OpenAI has it."""
    tokens = [tokenizer.token_text(entry.token_id) for entry in entries]
    offsets: list[int] = []
    for token in tokens:
        offsets.append(text_offset)
        text_offset += len(token)
    return {
        "text_offset": offsets,
        "token_logprobs": [_finite(entry.logprob) for entry in entries],
        "tokens": tokens,
        "top_logprobs": [_top(tokenizer, entry) for entry in entries],
    }


def tokens_length(tokenizer: Tokenizer, entries: list[TokenLogprobs]) -> int:
    """Characters of the tokens' own texts: how far text_offset moves on."""
    return sum(len(tokenizer.token_text(entry.token_id)) for entry in entries)


def _chat_token(tokenizer: Tokenizer, token_id: int, logprob: float) -> JsonObject:
    return {
        "token": tokenizer.token_text(token_id),
        "logprob": _finite(logprob),
        "bytes": list(tokenizer.token_bytes(token_id)),
    }


def _top(tokenizer: Tokenizer, entry: TokenLogprobs) -> dict[str, float]:
    top = {tokenizer.token_text(entry.token_id): _finite(entry.logprob)}
    for token_id, logprob in entry.top:
        top.setdefault(tokenizer.token_text(token_id), _finite(logprob))
    return dict(sorted(top.items(), key=lambda item: -item[1]))


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI's own floor for "as good as impossible" is -9999."""
    return max(logprob, -9999.0)
