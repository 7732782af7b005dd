"""Token texts in log-probabilities, for vocabularies that the fake model does not have."""

from tokenizers import Tokenizer as Backend
from tokenizers import decoders
from tokenizers.models import BPE

from headrace.core.generation.outputs import TokenLogprobs
from headrace.engine.tokenization.detokenizer import DetokenizerFactory
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.api.logprobs import CompletionLogprobsBuilder, chat_logprobs

WORDS = ["ab", "Ġ", "ðŁ", "ĺĢ", "ĠðŁ", "\\"]  # as GPT-2 writes bytes: ĠðŁĺĢ is a space and 😀
NO_TOKENS = (900, 901, 902)


def make_tokenizer() -> Tokenizer:
    backend = Backend(BPE(vocab={word: index for index, word in enumerate(WORDS)}, merges=[]))
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend)


def make_logprobs(tokenizer: Tokenizer) -> CompletionLogprobsBuilder:
    return CompletionLogprobsBuilder(tokenizer, DetokenizerFactory(tokenizer.backend).create())


def entry(token_id: int, *top: int) -> TokenLogprobs:
    tops = tuple((each, -float(place + 1)) for place, each in enumerate(top))
    return TokenLogprobs(token_id, -0.5, 1, tops)


def test_incomplete_characters_are_written_as_bytes() -> None:
    tokenizer = make_tokenizer()
    rows = make_logprobs(tokenizer).add([entry(4), entry(3), entry(0)], " 😀ab", is_last=True)
    assert rows is not None
    assert rows["tokens"] == ["bytes: \\xf0\\x9f", "bytes:\\x98\\x80", "ab"]
    assert rows["text_offset"] == [0, 1, 2]
    tokens = [each["token"] for each in chat_logprobs(tokenizer, [entry(4), entry(0)])["content"]]
    assert tokens == [" \\xf0\\x9f", "ab"]


def test_tokens_with_the_same_text_have_distinct_keys() -> None:
    rows = make_logprobs(make_tokenizer()).add([entry(0, 0, *NO_TOKENS)], "ab", is_last=True)
    assert rows is not None
    assert rows["top_logprobs"] == [
        {"ab": -0.5, "": -2.0, "token_id:901": -3.0, "token_id:902": -4.0}
    ]


def test_entries_are_withheld_until_their_text_is_sent() -> None:
    logprobs = make_logprobs(make_tokenizer())
    assert logprobs.add([entry(0), entry(1)], "", is_last=False) == {
        "text_offset": [0],
        "token_logprobs": [-0.5],
        "tokens": ["ab"],
        "top_logprobs": [{"ab": -0.5}],
    }
    rows = logprobs.add([entry(0)], "ab", is_last=False)
    assert rows is not None
    assert rows["tokens"] == [" "]
    rows = logprobs.add([], "", is_last=True)  # the rest was truncated at a stop string
    assert rows is not None
    assert rows["tokens"] == ["ab"]
    assert rows["text_offset"] == [2]
    assert logprobs.add([], "", is_last=True) is None
