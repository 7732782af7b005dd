from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.outputs import (
    FinishReason,
    RequestFailure,
    RequestTimes,
    TokenLogprobs,
)
from headrace.core.generation.sampling_params import SamplingParams
from headrace.core.generation.stats import EngineStats
from headrace.engine.messages import PromptLogprobs, StepOutputs, TokenOutput
from headrace.engine.metrics_hooks import FinishedChoice
from headrace.engine.outputs.output_processor import OutputProcessor, ProcessedStep

TIMES = RequestTimes(arrival=1.0, queued=1.1, scheduled=1.2, first_token=1.5, last_token=1.9)


def make_backend() -> Tokenizer:
    """One token per byte, then an end token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: place for place, character in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<end>"])
    return backend


BACKEND = make_backend()
END = BACKEND.token_to_id("<end>")


def ids_of(text: str) -> list[int]:
    return list(BACKEND.encode(text).ids)


class RecordingObserver:
    """Records every event, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def on_stats(self, stats: EngineStats) -> None:
        self.events.append(("stats", stats))

    def on_first_token(self, num_prompt_tokens: int, num_cached_tokens: int, ttft_s: float) -> None:
        self.events.append(("first", (num_prompt_tokens, num_cached_tokens, ttft_s)))

    def on_tokens(self, num_tokens: int) -> None:
        self.events.append(("tokens", num_tokens))

    def on_inter_token(self, interval_s: float) -> None:
        self.events.append(("inter", interval_s))

    def on_finished(self, choice: FinishedChoice) -> None:
        self.events.append(("finished", choice))

    def of(self, kind: str) -> list[Any]:
        return [value for name, value in self.events if name == kind]


def make(observer: RecordingObserver | None = None, **params: Any) -> OutputProcessor:
    processor = OutputProcessor(BACKEND, observer)
    add(processor, "r", **params)
    return processor


def add(processor: OutputProcessor, request_id: str, **params: Any) -> None:
    processor.add(
        request_id, "Hi", [1, 2, 3], SamplingParams(**{"max_tokens": 64, **params}), 1.0, 64
    )


def step(*outputs: TokenOutput) -> StepOutputs:
    return StepOutputs(list(outputs), EngineStats(num_running=len(outputs)))


def tokens(text: str, request_id: str = "r-0", **fields: Any) -> TokenOutput:
    return TokenOutput(request_id, ids_of(text), None, **fields)


def feed(processor: OutputProcessor, text: str) -> list[ProcessedStep]:
    """One step per token."""
    return [
        processor.process(step(TokenOutput("r-0", [token_id], None)), now=2.0 + place)
        for place, token_id in enumerate(ids_of(text))
    ]


def text_of(steps: list[ProcessedStep]) -> str:
    return "".join(entry.delta.text for each in steps for entry in each.deltas)


def test_tokens_become_text_until_eos() -> None:
    processor = make()
    steps = feed(processor, "grün")
    assert text_of(steps) == "grün"
    end = TokenOutput("r-0", [END], None, FinishReason.STOP, times=TIMES)
    (last,) = processor.process(step(end), now=9.0).deltas
    assert last.request_id == "r"
    assert last.is_last
    assert (last.delta.text, last.delta.token_ids) == ("", [END])
    assert (last.delta.finish_reason, last.delta.stop_reason) == (FinishReason.STOP, None)
    assert processor.num_unfinished_requests == processor.num_unfinished_choices == 0


@pytest.mark.parametrize(("include", "text"), [(False, "ab"), (True, "ab.")])
def test_the_text_of_a_stop_token_is_excluded_by_default(include: bool, text: str) -> None:
    processor = make(include_stop_str_in_output=include)
    (stop_id,) = ids_of(".")
    output = tokens("ab.", finish_reason=FinishReason.STOP, stop_token_id=stop_id)
    (entry,) = processor.process(step(output), now=2.0).deltas
    assert entry.delta.text == text
    assert entry.delta.token_ids == ids_of("ab.")
    assert entry.delta.stop_reason == stop_id


def test_a_stop_string_ends_the_choice_and_aborts_it_in_the_core() -> None:
    processor = make(stop=("END",))
    steps = feed(processor, "so END and more")
    assert text_of(steps) == "so "
    ended = steps[len("so END") - 1]
    assert ended.aborts == ["r-0"]
    (entry,) = ended.deltas
    assert entry.is_last
    assert entry.delta.finish_reason is FinishReason.STOP
    assert entry.delta.stop_reason == "END"
    assert entry.delta.token_ids == ids_of("D")
    assert all(not each.deltas and not each.aborts for each in steps[len("so END") :])


def test_tokens_and_logprobs_end_with_the_token_that_completes_a_stop_string() -> None:
    processor = make(stop=("b",), logprobs=0)
    token_ids = ids_of("abc")
    logprobs = [TokenLogprobs(token_id, -1.0, 1, ()) for token_id in token_ids]
    output = TokenOutput("r-0", token_ids, logprobs, FinishReason.LENGTH, times=TIMES)
    processed = processor.process(step(output), now=2.0)
    (entry,) = processed.deltas
    assert entry.delta.token_ids == token_ids[:2]
    assert entry.delta.logprobs == logprobs[:2]
    assert entry.delta.text == "a"
    assert (entry.delta.finish_reason, entry.delta.stop_reason) == (FinishReason.STOP, "b")
    assert processed.aborts == []  # the core has ended it already


def test_held_back_text_is_flushed_at_the_end() -> None:
    processor = make(stop=("END",))
    assert text_of(feed(processor, "so E")) == "so "
    output = TokenOutput("r-0", ids_of("ü")[:1], None, FinishReason.LENGTH)
    (entry,) = processor.process(step(output), now=9.0).deltas
    assert entry.delta.text == "E\ufffd"
    assert entry.delta.finish_reason is FinishReason.LENGTH


def test_stop_strings_are_ignored_before_min_tokens() -> None:
    processor = make(stop=("x",), min_tokens=3)
    steps = feed(processor, "xaxbx")
    assert text_of(steps) == "xaxb"
    assert steps[-1].aborts == ["r-0"]


def test_choices_end_independently() -> None:
    processor = make(n=3)
    assert processor.core_request_ids("r") == ["r-0", "r-1", "r-2"]
    outputs = [tokens(text, f"r-{place}") for place, text in enumerate(("a", "b", "c"))]
    deltas = processor.process(step(*outputs), now=2.0).deltas
    assert [(entry.delta.index, entry.delta.text) for entry in deltas] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
    ]
    for place, is_last in ((1, False), (0, False), (2, True)):
        ends = tokens("", f"r-{place}", finish_reason=FinishReason.LENGTH)
        (entry,) = processor.process(step(ends), now=3.0).deltas
        assert entry.is_last is is_last
        assert processor.num_unfinished_requests == (0 if is_last else 1)
    assert processor.core_request_ids("r") == []


def test_the_observer_gets_each_event_once() -> None:
    observer = RecordingObserver()
    processor = make(observer, stop=("END",))
    add(processor, "q")
    processor.process(step(tokens("a", num_cached_tokens=2), tokens("b", "q-0")), now=1.5)
    processor.process(step(tokens("END")), now=1.75)
    processor.process(step(tokens("late")), now=1.8)
    last = tokens("b", "q-0", finish_reason=FinishReason.LENGTH, num_preemptions=1, times=TIMES)
    processor.process(step(last), now=2.5)

    assert len(observer.of("stats")) == 4
    assert observer.of("first") == [(3, 2, 0.5), (3, 0, 0.5)]
    assert observer.of("tokens") == [2, 3, 1]
    assert observer.of("inter") == [0.25, 1.0]
    stopped, ended = observer.of("finished")
    assert stopped.finish_reason is FinishReason.STOP
    assert (stopped.num_output_tokens, stopped.finished_time, stopped.times) == (4, 1.75, None)
    assert ended.finish_reason is FinishReason.LENGTH
    assert (ended.num_output_tokens, ended.num_preemptions, ended.times) == (2, 1, TIMES)
    assert (ended.num_prompt_tokens, ended.arrival_time, ended.max_output_tokens) == (3, 1.0, 64)


def test_a_choice_without_output_ends_with_its_prompt() -> None:
    observer = RecordingObserver()
    processor = make(observer, max_tokens=0, logprobs=0, prompt_logprobs=0)
    entries = [TokenLogprobs(7, -1.0, 1, ())]
    chunk = StepOutputs([], EngineStats(), [PromptLogprobs("r-0", entries)])
    [arrived] = processor.process(chunk, 2.0).prompt_logprobs
    assert (arrived.request_id, arrived.choice, arrived.entries) == ("r", 0, entries)
    last = TokenOutput("r-0", ids_of("a"), entries, FinishReason.LENGTH, times=TIMES)
    [ended] = processor.process(step(last), 3.0).deltas
    assert ended.is_last
    assert (ended.delta.text, ended.delta.token_ids, ended.delta.logprobs) == ("", [], [])
    assert ended.delta.finish_reason is FinishReason.LENGTH
    [(num_prompt_tokens, _, _)] = observer.of("first")
    [finished] = observer.of("finished")
    assert finished.num_prompt_tokens == num_prompt_tokens
    assert finished.num_output_tokens == 0
    assert observer.of("tokens") == []
    late = StepOutputs([], EngineStats(), [PromptLogprobs("r-0", entries)])
    assert processor.process(late, 4.0).prompt_logprobs == []


def test_a_core_failure_ends_its_choice() -> None:
    observer = RecordingObserver()
    processor = make(observer)
    failure = RequestFailure("No token can be drawn.")
    output = TokenOutput("r-0", [], None, FinishReason.ERROR, failure=failure)
    (entry,) = processor.process(step(output), now=2.0).deltas
    assert entry.is_last
    assert (entry.delta.finish_reason, entry.delta.failure) == (FinishReason.ERROR, failure)
    (finished,) = observer.of("finished")
    assert finished.finish_reason is FinishReason.ERROR


def test_a_detokenization_failure_ends_only_its_choice(caplog: pytest.LogCaptureFixture) -> None:
    observer = RecordingObserver()
    processor = make(observer, n=2)
    add(processor, "q")
    processor.process(step(tokens("a"), tokens("b", "q-0")), now=2.0)
    bad = TokenOutput("r-0", [None], None)  # type: ignore[list-item]
    processed = processor.process(step(bad, tokens("c", "q-0")), now=3.0)
    failed, good = processed.deltas
    assert (failed.request_id, failed.delta.index, failed.is_last) == ("r", 0, False)
    assert failed.delta.finish_reason is FinishReason.ERROR
    assert failed.delta.failure is not None
    assert not failed.delta.failure.is_invalid_request
    assert processed.aborts == ["r-0"]
    assert "Traceback" in caplog.text
    assert good.delta.text == "c"
    assert processor.core_request_ids("r") == ["r-1"]
    assert [choice.finish_reason for choice in observer.of("finished")] == [FinishReason.ERROR]


def test_an_abort_removes_the_request_at_once() -> None:
    observer = RecordingObserver()
    processor = make(observer, n=2)
    processor.process(step(tokens("", "r-0", finish_reason=FinishReason.LENGTH)), now=2.0)
    assert processor.abort("r", now=3.0) == ["r-1"]
    assert processor.abort("r", now=4.0) == []
    assert processor.process(step(tokens("late", "r-1")), now=5.0).deltas == []
    reasons = [choice.finish_reason for choice in observer.of("finished")]
    assert reasons == [FinishReason.LENGTH, FinishReason.ABORT]
    add(processor, "r")  # the id is free again
    assert processor.num_unfinished_requests == 1


def test_a_dead_engine_fails_every_choice() -> None:
    observer = RecordingObserver()
    processor = make(observer, n=2)
    add(processor, "q", stop=("END",))
    processor.process(step(tokens("E", "q-0")), now=2.0)
    deltas = processor.fail_all(now=3.0)
    assert [(entry.request_id, entry.delta.index, entry.is_last) for entry in deltas] == [
        ("r", 0, False),
        ("r", 1, True),
        ("q", 0, True),
    ]
    assert {entry.delta.finish_reason for entry in deltas} == {FinishReason.ERROR}
    assert deltas[-1].delta.text == "E"
    assert len(observer.of("finished")) == 3
    assert processor.num_unfinished_choices == 0


def test_a_duplicate_request_id_is_refused() -> None:
    processor = make()
    with pytest.raises(InvalidParameterError) as refused:
        add(processor, "r")
    assert refused.value.param == "request_id"


TEXTS = st.text("abü🦊", max_size=20)


@given(TEXTS, st.lists(st.text("abü", min_size=1, max_size=3), max_size=2), st.data())
def test_the_output_does_not_depend_on_tokens_per_step(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    """One token per step, or several: the collected output is the same."""
    token_ids = ids_of(text)

    def output_of(cuts: list[int]) -> Any:
        processor = make(stop=tuple(stop))
        collector = processor.collector("r")
        parts = [
            token_ids[start:end]
            for start, end in zip([0, *cuts], [*cuts, len(token_ids)], strict=True)
        ]
        for place, part in enumerate(parts):
            reason = FinishReason.LENGTH if place == len(parts) - 1 else None
            output = TokenOutput("r-0", part, None, reason)
            for entry in processor.process(step(output), now=2.0).deltas:
                collector.add(entry.delta)
        assert collector.output.finished
        return collector.output

    cuts = data.draw(st.lists(st.integers(0, len(token_ids)), max_size=8))
    assert output_of(sorted(cuts)) == output_of(list(range(len(token_ids))))


@given(TEXTS, st.lists(st.text("abü", min_size=1, max_size=3), max_size=2), st.data())
def test_a_continued_output_equals_the_uninterrupted_one(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    """At any position, also within a stop string."""
    token_ids = ids_of(text)
    assume(token_ids)

    def run(processor: OutputProcessor, collector: Any, token_ids: list[int]) -> None:
        for place, token_id in enumerate(token_ids):
            reason = FinishReason.LENGTH if place == len(token_ids) - 1 else None
            if processor.num_unfinished_requests == 0:
                return  # a stop string ended it
            for entry in processor.process(
                step(TokenOutput("r-0", [token_id], None, reason)), 2.0
            ).deltas:
                collector.add(entry.delta)

    whole = make(stop=tuple(stop))
    expected = whole.collector("r")
    run(whole, expected, token_ids)

    num_prior = data.draw(st.integers(0, max(0, len(expected.output.outputs[0].token_ids) - 1)))
    observer = RecordingObserver()
    continued = OutputProcessor(BACKEND, observer)
    params = SamplingParams(max_tokens=64, stop=tuple(stop))
    continued.add("r", "Hi", [1, 2, 3], params, 1.0, 64, token_ids[:num_prior])
    collected = continued.collector("r")
    run(continued, collected, token_ids[num_prior:])
    assert collected.output == expected.output
    num_tokens = len(expected.output.outputs[0].token_ids)
    assert sum(observer.of("tokens")) == num_tokens - num_prior
    (finished,) = observer.of("finished")
    assert finished.num_output_tokens == num_tokens


def test_an_output_ended_by_a_stop_string_cannot_be_continued() -> None:
    processor = OutputProcessor(BACKEND)
    params = SamplingParams(max_tokens=64, stop=("b",))
    with pytest.raises(InvalidParameterError) as caught:
        processor.add("r", "Hi", [1, 2, 3], params, 1.0, 64, ids_of("abc"))
    assert caught.value.param == "prior_output_token_ids"
    assert processor.num_unfinished_requests == 0
