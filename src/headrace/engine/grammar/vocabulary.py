"""The vocabulary as llguidance needs it: the bytes of each token, and how a text is tokenized."""

from collections.abc import Iterable

from llguidance import LLTokenizer, TokenizerWrapper

from headrace.engine.tokenization.tokenizer import Tokenizer


class _Vocabulary:
    """What llguidance's TokenizerWrapper reads of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer, tokens: list[bytes], eos_token_id: int) -> None:
        self._tokenizer = tokenizer
        self.tokens = tokens
        self.eos_token_id = eos_token_id
        self.bos_token_id = None
        self.special_token_ids = sorted(
            token_id for token_id in tokenizer.special_ids if token_id < len(tokens)
        )

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)


def build_vocabulary(
    tokenizer: Tokenizer, vocab_size: int, end_token_ids: Iterable[int]
) -> LLTokenizer:
    """llguidance's view of a tokenizer, for masks of ``vocab_size`` tokens.

    end_token_ids: tokens that may end an output. Without any, one more token stands for the end: a
    mask then has ``vocab_size + 1`` bits. Takes up to a second for a large vocabulary.
    """
    tokens = [tokenizer.token_bytes(token_id) for token_id in range(vocab_size)]
    ends = sorted(token_id for token_id in end_token_ids if token_id < vocab_size)
    if not ends:
        tokens.append(b"<end>")
        ends = [vocab_size]
    vocabulary = _Vocabulary(tokenizer, tokens, ends[0])
    vocabulary.special_token_ids = sorted({*vocabulary.special_token_ids, *ends})
    return LLTokenizer(TokenizerWrapper(vocabulary), eos_token=ends)
