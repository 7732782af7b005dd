from headrace.core.generation.outputs import ChoiceDelta, FinishReason, TokenLogprobs
from headrace.engine.outputs.request_collector import RequestCollector


def test_deltas_are_accumulated_per_choice() -> None:
    collector = RequestCollector("r", "Hi", [1, 2], num_choices=2)
    first = TokenLogprobs(7, -0.5, 1, ())
    second = TokenLogprobs(8, -1.5, 2, ())
    collector.add(ChoiceDelta(0, "a", [7], [first], num_cached_tokens=1))
    collector.add(ChoiceDelta(1, "x", [9]))
    collector.add(
        ChoiceDelta(0, "b", [8], [second], FinishReason.STOP, stop_reason=8, num_cached_tokens=1)
    )
    output = collector.output
    assert not output.finished
    zero, one = output.outputs
    assert (zero.text, zero.token_ids, zero.logprobs) == ("ab", [7, 8], [first, second])
    assert (zero.finish_reason, zero.stop_reason) == (FinishReason.STOP, 8)
    assert (one.text, one.token_ids, one.logprobs) == ("x", [9], None)
    assert output.num_cached_tokens == 1

    collector.add(ChoiceDelta(1, "", [], finish_reason=FinishReason.LENGTH))
    assert output.finished
