"""Joins the deltas of a stream to chunks of several tokens."""

from collections.abc import AsyncIterator

from headrace.core.errors import HeadraceError
from headrace.core.generation.outputs import ChoiceDelta


async def in_intervals(
    deltas: AsyncIterator[ChoiceDelta], interval: int
) -> AsyncIterator[ChoiceDelta]:
    """The first delta of each choice as it is, then one for at least ``interval`` tokens, and the
    rest with the finish reason. What was held back when an error ends the stream comes before it.
    """
    started: set[int] = set()
    held: dict[int, ChoiceDelta] = {}
    try:
        async for delta in deltas:
            before = held.pop(delta.index, None)
            joined = delta if before is None else _join(before, delta)
            is_short = len(joined.token_ids) < interval and joined.finish_reason is None
            if is_short and delta.index in started:
                held[delta.index] = joined
                continue
            started.add(delta.index)
            yield joined
    except HeadraceError:
        for rest in held.values():
            yield rest
        raise


def _join(one: ChoiceDelta, other: ChoiceDelta) -> ChoiceDelta:
    logprobs = None
    if one.logprobs is not None or other.logprobs is not None:
        logprobs = [*(one.logprobs or ()), *(other.logprobs or ())]
    return ChoiceDelta(
        index=one.index,
        text=one.text + other.text,
        token_ids=one.token_ids + other.token_ids,
        logprobs=logprobs,
        finish_reason=other.finish_reason,
        stop_reason=other.stop_reason,
        num_cached_tokens=other.num_cached_tokens,
        failure=other.failure,
        times=other.times or one.times,
    )
