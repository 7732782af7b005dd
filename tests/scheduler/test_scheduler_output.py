"""A step's data round-trips through msgpack, with every kind of value."""

from typing import Any

import msgspec
import pytest

from headrace.core.generation.outputs import RequestFailure, TokenLogprobs
from headrace.core.generation.sampling_params import SamplingParams
from headrace.scheduler.output import (
    AdmittedRequest,
    FailedEntry,
    PooledVector,
    RunnerOutput,
    SampledTokens,
    ScheduledRequest,
    SchedulerOutput,
)

PARAMS = SamplingParams(
    temperature=0.3,
    logit_bias={7: -1.5},
    seed=-(2**63),
    stop=("one", "two"),
    stop_token_ids=(4, 5),
    min_tokens=2,
    logprobs=3,
)
STEP = SchedulerOutput(
    scheduled=[
        ScheduledRequest("b", 9, 1, [], [12], needs_sample=True),
        ScheduledRequest("a", 0, 3, [4, 0], [], needs_sample=False),
    ],
    admitted=[AdmittedRequest("a", [1, 2, 3], [4], PARAMS, 2**63 - 1, 1, frozenset({2, 0}))],
    released=["c"],
)
RESULT = RunnerOutput(
    [
        SampledTokens([3, 4], [TokenLogprobs(3, -0.25, 1, ((3, -0.25),))] * 2),
        SampledTokens([]),
        PooledVector(b"\0\0\0?\0\0\x80\xbf"),
        FailedEntry(RequestFailure("no logits", is_invalid_request=True, param="min_tokens")),
        None,
    ]
)


@pytest.mark.parametrize("value", [STEP, RESULT, SchedulerOutput(), RunnerOutput([])])
def test_a_round_trip_changes_nothing(value: Any) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=type(value)) == value
