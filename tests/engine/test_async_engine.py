"""The asyncio engine over a real core process with a fake model in it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from headrace.core.errors import (
    ContextLengthError,
    EngineDeadError,
    EngineDrainingError,
    InvalidParameterError,
    InvalidRequestError,
    MemoryFitError,
    ModelNotFoundError,
    QueueFullError,
)
from headrace.core.generation.outputs import ChoiceDelta, FinishReason
from headrace.core.generation.sampling_params import SamplingParams
from headrace.core.generation.stats import EngineStats
from headrace.engine.async_engine import AsyncEngine, NewRequest, RequestStream
from headrace.engine.config import EngineConfig
from headrace.engine.metrics_hooks import FinishedChoice
from headrace.engine.tokenization.tokenizer import Tokenizer, load_tokenizer
from headrace.models.sources.files import ModelFiles
from headrace.testing.fakes.fake_core import FACTORY

DEADLINE_S = 20.0
SLOW = "fake?step_s=0.005"
ENDLESS = SamplingParams(max_tokens=1500, ignore_eos=True)


@pytest.fixture(scope="module")
def tokenizer(fake_files: ModelFiles) -> Tokenizer:
    return load_tokenizer(fake_files, None)


class Recorder:
    """Counts the engine's notifications."""

    def __init__(self) -> None:
        self.stats: list[EngineStats] = []
        self.num_tokens = 0
        self.finished: list[FinishReason] = []

    def on_stats(self, stats: EngineStats) -> None:
        self.stats.append(stats)

    def on_first_token(self, num_prompt_tokens: int, num_cached_tokens: int, ttft_s: float) -> None:
        assert ttft_s >= 0

    def on_tokens(self, num_tokens: int) -> None:
        self.num_tokens += num_tokens

    def on_inter_token(self, interval_s: float) -> None:
        assert interval_s >= 0

    def on_finished(self, choice: FinishedChoice) -> None:
        self.finished.append(choice.finish_reason)


class Engines:
    """Starts engines over the fake core, and shuts them down."""

    def __init__(self, files: ModelFiles, tokenizer: Tokenizer) -> None:
        self._files = files
        self._tokenizer = tokenizer

    @asynccontextmanager
    async def running(
        self,
        model: str = "fake",
        *,
        max_queue: int | None = None,
        observer: Recorder | None = None,
        **options: object,
    ) -> AsyncIterator[AsyncEngine]:
        config = EngineConfig(model=model, num_threads=1, **options)  # type: ignore[arg-type]
        engine = await AsyncEngine.start_with(
            config,
            self._files,
            self._tokenizer,
            factory=FACTORY,
            max_queue=max_queue,
            observer=observer,
        )
        try:
            yield engine
        finally:
            await engine.shutdown()


@pytest.fixture
def engines(fake_files: ModelFiles, tokenizer: Tokenizer) -> Engines:
    return Engines(fake_files, tokenizer)


def run(test: Coroutine[None, None, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test

    asyncio.run(limited())


async def collect(stream: RequestStream) -> list[ChoiceDelta]:
    async with stream:
        return [delta async for delta in stream]


async def until(condition: Callable[[], bool]) -> None:
    """Run the loop until the condition holds; ``run`` has the deadline."""
    while not condition():
        await asyncio.sleep(0.005)


def test_a_request_streams_its_text(engines: Engines) -> None:
    async def test() -> None:
        async with engines.running() as engine:
            params = SamplingParams(max_tokens=5, ignore_eos=True)
            deltas = await collect(engine.submit([1, 2, 3], params, request_id="a"))
            token_ids = [token for delta in deltas for token in delta.token_ids]
            assert len(token_ids) == 5
            text = "".join(delta.text for delta in deltas)
            assert text == engine.tokenizer.decode(token_ids)
            assert deltas[-1].finish_reason == FinishReason.LENGTH
            assert engine.num_unfinished == 0

    run(test())


def test_concurrent_requests_with_several_choices(engines: Engines) -> None:
    async def test() -> None:
        recorder = Recorder()
        async with engines.running(observer=recorder, max_num_seqs=8) as engine:
            params = SamplingParams(max_tokens=7, n=3, ignore_eos=True)
            streams = [engine.submit([1, 2, i], params, request_id=f"r{i}") for i in range(20)]
            for deltas in await asyncio.gather(*map(collect, streams)):
                for choice in range(3):
                    mine = [delta for delta in deltas if delta.index == choice]
                    assert sum(len(delta.token_ids) for delta in mine) == 7
                    assert mine[-1].finish_reason == FinishReason.LENGTH
            assert recorder.num_tokens == 20 * 3 * 7
            assert recorder.finished == [FinishReason.LENGTH] * 60
            assert max(stats.num_running for stats in recorder.stats) == 8
            assert recorder.stats[0].num_waiting == 3
            assert engine.stats.num_running == engine.stats.num_waiting == 0

    run(test())


def test_closing_a_stream_frees_its_blocks_at_once(engines: Engines) -> None:
    async def test() -> None:
        recorder = Recorder()
        async with engines.running(SLOW, observer=recorder) as engine:
            async with engine.submit([1, 2], ENDLESS, request_id="a") as stream:
                await anext(stream)
                assert engine.stats.num_used_blocks > 0
            assert engine.num_unfinished == 0
            await until(lambda: engine.stats.num_used_blocks == 0)
            assert engine.stats.num_running == 0
            assert recorder.finished == [FinishReason.ABORT]

    run(test())


def test_a_cancelled_reader_aborts_its_request(engines: Engines) -> None:
    async def test() -> None:
        async with engines.running(SLOW) as engine:
            reading = asyncio.create_task(collect(engine.submit([1, 2], ENDLESS, request_id="a")))
            await until(lambda: engine.stats.num_running == 1)
            reading.cancel()
            await until(lambda: engine.stats.num_running == 0)
            assert engine.num_unfinished == 0

    run(test())


def test_a_failed_request_ends_alone(engines: Engines) -> None:
    async def test() -> None:
        recorder = Recorder()
        async with engines.running("fake?failing_token_id=7", observer=recorder) as engine:
            params = SamplingParams(max_tokens=50, ignore_eos=True, n=2)
            bad = engine.submit([1, 7], params, request_id="bad")
            good = engine.submit([1, 2], params, request_id="good")
            failed, finished = await asyncio.gather(collect(bad), collect(good))
            assert [delta.finish_reason for delta in failed] == [FinishReason.ERROR] * 2
            assert all(delta.failure is not None for delta in failed)
            assert sum(len(delta.token_ids) for delta in finished) == 100
            assert engine.is_alive
            assert engine.num_unfinished == 0
            assert recorder.finished.count(FinishReason.ERROR) == 2
            await until(lambda: engine.stats.num_used_blocks == 0)
            assert engine.stats.num_running == engine.stats.num_waiting == 0

    run(test())


@pytest.mark.parametrize("salt", ["\ud800", 2**70])
def test_an_unencodable_request_leaves_no_state(engines: Engines, salt: object) -> None:
    async def test() -> None:
        async with engines.running() as engine:
            params = SamplingParams(max_tokens=5, n=3)
            with pytest.raises((UnicodeEncodeError, OverflowError)):
                engine.submit([1, 2], params, request_id="a", cache_salt=salt)  # type: ignore[arg-type]
            assert engine.num_unfinished == 0
            assert engine.stats.num_waiting == 0
            await collect(engine.submit([1, 2], params, request_id="a"))

    run(test())


def test_a_stop_string_aborts_the_request_in_the_core(engines: Engines) -> None:
    async def test() -> None:
        async with engines.running(SLOW) as engine:
            first = await collect(
                engine.submit(
                    [1, 2], SamplingParams(max_tokens=4, ignore_eos=True, seed=1), request_id="a"
                )
            )
            word = engine.tokenizer.decode([first[-1].token_ids[-1]]).strip()
            params = SamplingParams(max_tokens=1500, ignore_eos=True, seed=1, stop=(word,))
            deltas = await collect(engine.submit([1, 2], params, request_id="b"))
            assert deltas[-1].finish_reason == FinishReason.STOP
            assert deltas[-1].stop_reason == word
            assert sum(len(delta.token_ids) for delta in deltas) <= 4
            await until(lambda: engine.stats.num_used_blocks == 0)

    run(test())


def test_the_queue_is_bounded(engines: Engines) -> None:
    async def test() -> None:
        async with engines.running(SLOW, max_queue=3, max_num_seqs=2) as engine:
            # Two can run and three wait, however far the core has progressed.
            streams = [engine.submit([1, 2], ENDLESS, request_id=f"r{i}") for i in range(5)]
            with pytest.raises(QueueFullError) as caught:
                engine.submit([1, 2], ENDLESS, request_id="too many")
            assert caught.value.retry_after_s > 0

            await until(lambda: engine.stats.num_running == 2)
            assert engine.stats.num_waiting == 3
            with pytest.raises(QueueFullError):
                engine.submit([1, 2], ENDLESS, request_id="still too many")

            await streams[4].aclose()
            last = engine.submit([1, 2], ENDLESS, request_id="now there is room")
            for stream in [*streams, last]:
                await stream.aclose()

    run(test())


def test_a_queue_limit_of_zero_accepts_requests_that_can_run(engines: Engines) -> None:
    async def test() -> None:
        async with engines.running(SLOW, max_queue=0, max_num_seqs=2) as engine:
            streams = [engine.submit([1, 2], ENDLESS, request_id=f"r{i}") for i in range(2)]
            with pytest.raises(QueueFullError):
                engine.submit([1, 2], ENDLESS, request_id="third")
            for stream in streams:
                await stream.aclose()

    run(test())


def new(*request_ids: str, prompt: list[int] | None = None) -> list[NewRequest]:
    return [NewRequest(request_id, prompt or [1, 2]) for request_id in request_ids]


def test_a_batch_is_accepted_atomically(engines: Engines) -> None:
    async def test() -> None:
        recorder = Recorder()
        async with engines.running(SLOW, max_queue=2, max_num_seqs=2, observer=recorder) as engine:
            with pytest.raises(InvalidParameterError) as never:  # at once, at least
                engine.submit_all(new(*"abcde"), ENDLESS)
            assert never.value.param == "prompt"
            with pytest.raises(InvalidParameterError) as never:
                engine.submit_all(new(*"abc"), ENDLESS.replace(n=2))
            assert never.value.param == "prompt"
            with pytest.raises(InvalidParameterError) as never:
                engine.submit([1, 2], ENDLESS.replace(n=5), request_id="a")
            assert never.value.param == "n"

            first = engine.submit_all(new(*"ab"), ENDLESS)
            await until(lambda: engine.stats.num_running == 2)
            with pytest.raises(QueueFullError):
                engine.submit_all(new(*"cde"), ENDLESS)
            second = engine.submit_all(new("c"), ENDLESS.replace(n=2))
            with pytest.raises(QueueFullError):
                engine.submit([1, 2], ENDLESS, request_id="d")
            for stream in [*first, *second]:
                await stream.aclose()
            for stream in engine.submit_all(new(*"abcd"), ENDLESS):
                await stream.aclose()
            await until(lambda: engine.stats.num_used_blocks == 0)
            assert engine.num_unfinished == 0
            assert len(recorder.finished) == 8  # nothing was started that was refused

    run(test())


def test_one_invalid_prompt_rejects_its_batch(engines: Engines) -> None:
    async def test() -> None:
        recorder = Recorder()
        async with engines.running("fake?vocab_size=100", observer=recorder) as engine:
            for wrong in (new("c", prompt=[100]), new("c", prompt=[1] * 5000), new("a")):
                with pytest.raises(InvalidRequestError):
                    engine.submit_all([*new("a", "b"), *wrong], SamplingParams(max_tokens=4))
                assert engine.num_unfinished == 0
                assert engine.stats.num_waiting == 0
            await collect(engine.submit([1], SamplingParams(max_tokens=4), request_id="a"))
            assert engine.stats.num_running == engine.stats.num_waiting == 0

    run(test())


def test_requests_beyond_the_context_are_refused(engines: Engines) -> None:
    async def test() -> None:
        async with engines.running("fake?vocab_size=100", max_model_len=16) as engine:
            params = SamplingParams(max_tokens=4)
            with pytest.raises(ContextLengthError):
                engine.submit([1] * 16, params, request_id="a")
            with pytest.raises(ContextLengthError):
                engine.submit([1] * 13, params, request_id="a")
            with pytest.raises(InvalidParameterError):
                engine.submit([100], params, request_id="a")
            assert engine.num_unfinished == 0

            running = engine.submit([1], params, request_id="a")
            with pytest.raises(InvalidParameterError) as refused:
                engine.submit([1], params, request_id="a")
            assert refused.value.param == "request_id"
            await collect(running)
            await collect(engine.submit([1], params, request_id="a"))

    run(test())


def test_drain_waits_for_running_requests(engines: Engines) -> None:
    async def test() -> None:
        async with engines.running(SLOW) as engine:
            params = SamplingParams(max_tokens=20, ignore_eos=True)
            reading = asyncio.create_task(collect(engine.submit([1], params, request_id="a")))
            draining = asyncio.create_task(engine.drain(DEADLINE_S))
            await until(lambda: engine.is_draining)
            with pytest.raises(EngineDrainingError):
                engine.submit([1], params, request_id="late")
            assert await draining
            assert (await reading)[-1].finish_reason == FinishReason.LENGTH

    run(test())


def test_drain_aborts_remaining_requests_at_the_deadline(engines: Engines) -> None:
    async def test() -> None:
        recorder = Recorder()
        async with engines.running(SLOW, observer=recorder) as engine:
            reading = asyncio.create_task(collect(engine.submit([1], ENDLESS, request_id="a")))
            await until(lambda: engine.stats.num_running == 1)
            assert not await engine.drain(0.01)
            assert (await reading)[-1].finish_reason == FinishReason.ABORT
            assert recorder.finished == [FinishReason.ABORT]
            assert engine.num_unfinished == 0

    run(test())


def test_an_idle_engine_is_drained_at_once(engines: Engines) -> None:
    async def test() -> None:
        async with engines.running() as engine:
            assert await engine.drain(0)

    run(test())


def test_shutdown_ends_streams_and_the_process(engines: Engines) -> None:
    async def test() -> None:
        async with engines.running(SLOW) as engine:
            reading = asyncio.create_task(collect(engine.submit([1], ENDLESS, request_id="a")))
            await until(lambda: engine.stats.num_running == 1)
            await engine.shutdown()
            assert (await reading)[-1].finish_reason == FinishReason.ABORT
            assert engine.dead_error is None
            with pytest.raises(ProcessLookupError):
                os.kill(engine.core_pid, 0)

    run(test())


def test_when_the_core_is_killed_every_stream_fails(engines: Engines) -> None:
    async def test() -> None:
        recorder = Recorder()
        async with engines.running(SLOW, observer=recorder) as engine:
            streams = [engine.submit([1, i], ENDLESS, request_id=f"r{i}") for i in range(3)]
            readings = [asyncio.create_task(collect(stream)) for stream in streams]
            await until(lambda: engine.stats.num_running == 3)
            os.kill(engine.core_pid, signal.SIGKILL)
            error = await engine.wait_dead()
            for reading in readings:
                with pytest.raises(EngineDeadError) as dead:
                    await reading
                assert dead.value.exit_code == -signal.SIGKILL
            assert recorder.finished == [FinishReason.ERROR] * 3
            assert not engine.is_alive
            assert engine.dead_error is error
            assert engine.num_unfinished == 0
            assert engine.stats.num_running == 0
            with pytest.raises(EngineDeadError):
                engine.submit([1], ENDLESS, request_id="late")
            assert await engine.drain(DEADLINE_S)

    run(test())


def test_a_failed_step_fails_all_streams(
    engines: Engines, capfd: pytest.CaptureFixture[str]
) -> None:
    async def test() -> None:
        async with engines.running("fake?fail_at_step=3") as engine:
            with pytest.raises(EngineDeadError, match="no memory left"):
                await collect(engine.submit([1], ENDLESS, request_id="a"))

    run(test())
    capfd.readouterr()


def test_a_failed_start_leaves_no_process(
    engines: Engines, capfd: pytest.CaptureFixture[str]
) -> None:
    async def test() -> None:
        with pytest.raises(MemoryFitError):
            async with engines.running("fake?fail_at_start=1"):
                pass

    run(test())
    capfd.readouterr()


def test_a_missing_model_is_reported_first() -> None:
    async def test() -> None:
        with pytest.raises(ModelNotFoundError):
            await AsyncEngine.start(EngineConfig(model="./no/such/model"), max_queue=None)

    run(test())


def test_an_existing_output_is_continued(engines: Engines) -> None:
    """The deltas have the tokens that follow, and only these count as generated."""
    recorder = Recorder()

    async def test() -> None:
        async with engines.running(observer=recorder) as engine:
            params = SamplingParams(max_tokens=8, ignore_eos=True)
            whole = await collect(engine.submit([1, 2, 3], params, request_id="a"))
            token_ids = [token for delta in whole for token in delta.token_ids]
            request = NewRequest("b", [1, 2, 3], prior_output_token_ids=token_ids[:5])
            [stream] = engine.submit_all([request], params)
            deltas = await collect(stream)
            assert [token for delta in deltas for token in delta.token_ids] == token_ids[5:]
            assert deltas[-1].finish_reason == FinishReason.LENGTH
            assert recorder.num_tokens == 8 + 3

    run(test())
