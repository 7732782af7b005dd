"""Tokenization does not block the event loop."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import pytest

from headrace.core.errors import ContextLengthError, InvalidParameterError
from headrace.engine.tokenization.tokenizer import Tokenizer, load_tokenizer
from headrace.server.prompt_encoder import (
    MAX_INLINE_COST,
    MAX_SHORT_COST,
    NUM_SHORT_THREADS,
    PromptEncoder,
)
from headrace.testing.fakes.fake_model import VOCAB_SIZE, write_model

MAX_MODEL_LEN = 1_000_000
DEADLINE_S = 60.0
PER_TOKEN = len("<eos>")
"""The longest token of the fake model."""


class WatchedTokenizer(Tokenizer):
    """A real tokenizer that records the calling threads and can block within a call."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer.backend)
        self.threads: list[threading.Thread] = []
        self.num_texts = 0
        self.num_at_once = 0
        self.most_at_once = 0
        self.hold: Callable[[Sequence[str]], None] = lambda texts: None
        self._lock = threading.Lock()

    def encode_batch(
        self,
        texts: Sequence[str],
        add_special_tokens: bool = True,
        max_model_len: int | None = None,
    ) -> list[list[int]]:
        with self._lock:
            self.threads.append(threading.current_thread())
            self.num_texts += len(texts)
            self.num_at_once += 1
            self.most_at_once = max(self.most_at_once, self.num_at_once)
        try:
            self.hold(texts)
            return super().encode_batch(texts, add_special_tokens, max_model_len)
        finally:
            with self._lock:
                self.num_at_once -= 1


@pytest.fixture
def tokenizer(tmp_path: Path) -> WatchedTokenizer:
    return WatchedTokenizer(load_tokenizer(write_model(tmp_path)))


@pytest.fixture
def encoder(tokenizer: WatchedTokenizer) -> PromptEncoder:
    return make_encoder(tokenizer)


def make_encoder(tokenizer: Tokenizer, max_model_len: int = MAX_MODEL_LEN) -> PromptEncoder:
    return PromptEncoder(tokenizer, vocab_size=VOCAB_SIZE, max_model_len=max_model_len)


def run(test: Coroutine[None, None, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test

    asyncio.run(limited())


async def ids_of(encoder: PromptEncoder, *texts: str) -> list[list[int]]:
    return await encoder.encode(texts, add_special_tokens=True)


@pytest.mark.parametrize("size", [1, MAX_INLINE_COST, MAX_SHORT_COST, MAX_SHORT_COST + 1])
def test_every_size_gives_the_same_ids(encoder: PromptEncoder, size: int) -> None:
    async def test() -> None:
        text = ("0123456789abcdef" * (size // 16 + 1))[:size]
        assert await ids_of(encoder, text) == [list(text.encode())]

    run(test())


def test_many_texts_keep_their_order(encoder: PromptEncoder) -> None:
    async def test() -> None:
        texts = [f"{place} {'x' * (place * 37 % 500)}" for place in range(1000)]
        assert await ids_of(encoder, *texts) == [list(text.encode()) for text in texts]

    run(test())


def test_short_texts_are_tokenized_inline(
    tokenizer: WatchedTokenizer, encoder: PromptEncoder
) -> None:
    async def test() -> None:
        await ids_of(encoder, "a" * 1000)
        assert tokenizer.threads == [threading.current_thread()]

    run(test())


@pytest.mark.parametrize("texts", [["a" * 100_000], ["a" * 100] * 1000, ["a"] * 1000], ids=len)
def test_longer_texts_are_tokenized_in_a_thread(
    tokenizer: WatchedTokenizer, encoder: PromptEncoder, texts: list[str]
) -> None:
    async def test() -> None:
        await ids_of(encoder, *texts)
        assert tokenizer.num_texts == len(texts)
        assert threading.current_thread() not in tokenizer.threads

    run(test())


def test_the_loop_runs_while_a_long_text_is_tokenized(
    tokenizer: WatchedTokenizer, encoder: PromptEncoder
) -> None:
    """With a call that holds the interpreter's lock, so that the loop runs only before it and
    after it."""

    async def test() -> None:
        text = "the water of the mill " * 40_000
        locked = await num_turns(asyncio.to_thread(tokenizer.backend.encode, text))
        assert await num_turns(ids_of(encoder, text)) > 4 * locked

    run(test())


async def num_turns(work: Coroutine[None, None, object]) -> int:
    """The number of loop iterations until the work is done."""
    task = asyncio.create_task(work)
    num = 0
    while not task.done():
        num += 1
        await asyncio.sleep(0)
    await task
    return num


@pytest.mark.parametrize("at", [0, 1])
def test_a_text_that_cannot_fit_is_refused_without_tokenization(
    tokenizer: WatchedTokenizer, at: int
) -> None:
    async def test() -> None:
        encoder = make_encoder(tokenizer, max_model_len=100)
        texts = ["a", "a"]
        texts[at] = "a" * (99 * PER_TOKEN + 1)
        with pytest.raises(ContextLengthError) as caught:
            await ids_of(encoder, *texts)
        assert caught.value.max_model_len == 100
        assert tokenizer.threads == []

    run(test())


def test_a_text_that_fits_is_not_refused(tokenizer: WatchedTokenizer) -> None:
    async def test() -> None:
        encoder = make_encoder(tokenizer, max_model_len=100)
        ((*token_ids,),) = await ids_of(encoder, "<eos>" * 99)
        assert token_ids == [256] * 99
        with pytest.raises(ContextLengthError):
            await ids_of(encoder, "<eos>" * 100)
        with pytest.raises(ContextLengthError):
            await ids_of(encoder, "a" * 100)

    run(test())


def test_concurrent_tokenization_is_limited(
    tokenizer: WatchedTokenizer, encoder: PromptEncoder
) -> None:
    async def test() -> None:
        sizes = [MAX_INLINE_COST, MAX_SHORT_COST // 2, MAX_SHORT_COST] * 10
        await asyncio.gather(*(ids_of(encoder, "a" * size) for size in sizes))
        assert len(tokenizer.threads) == 30
        assert tokenizer.most_at_once <= NUM_SHORT_THREADS + 1  # one thread for long texts

    run(test())


def test_very_long_texts_do_not_delay_others(
    tokenizer: WatchedTokenizer, encoder: PromptEncoder
) -> None:
    async def test() -> None:
        goes_on = threading.Event()

        def hold(texts: Sequence[str]) -> None:
            if len(texts[0]) > MAX_SHORT_COST:
                assert goes_on.wait(DEADLINE_S)

        tokenizer.hold = hold
        long = [asyncio.create_task(ids_of(encoder, "a" * 300_000)) for _ in range(10)]
        await ids_of(encoder, "a" * 100_000)
        assert not any(task.done() for task in long)
        goes_on.set()
        await asyncio.gather(*long)

    run(test())


def test_token_ids_are_decoded(encoder: PromptEncoder) -> None:
    async def test() -> None:
        prompts = [list(b"short"), list(b"long" * 10_000)]
        assert await encoder.decode(prompts) == ["short", "long" * 10_000]

    run(test())


@pytest.mark.parametrize("token_ids", [[], [-1], [5, VOCAB_SIZE], [2**70]])
def test_unknown_token_ids_are_refused(encoder: PromptEncoder, token_ids: list[int]) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        encoder.check(token_ids)
    assert caught.value.param == "prompt"


def test_more_token_ids_than_the_context_are_refused(tokenizer: WatchedTokenizer) -> None:
    encoder = make_encoder(tokenizer, max_model_len=10)
    encoder.check([1] * 9)
    with pytest.raises(ContextLengthError):
        encoder.check([1] * 10)
