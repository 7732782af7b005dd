import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.api.responses import RevisionHistoryView
from headrace.control.history.block import COARSE, FINE, Block, Resolution, decode_block
from headrace.control.history.revision_sample import METRICS, RevisionSample

values = st.none() | st.floats(0, 1e9, width=32)
samples = st.builds(RevisionSample, **{field.name: values for field in fields(RevisionSample)})
resolutions = st.sampled_from([FINE, COARSE])


@given(resolutions, st.integers(0, 10**6), st.dictionaries(st.integers(0, 19), samples))
def test_a_block_is_read_as_it_was_written(
    resolution: Resolution, number: int, put: dict[int, RevisionSample]
) -> None:
    begins_at = number * resolution.block_s
    block = Block(resolution, begins_at)
    for index, sample in put.items():
        block.put(begins_at + index * resolution.step_s, sample)
    read = decode_block(resolution, begins_at, block.encode())
    for index in range(resolution.num_steps):
        expected = put.get(index, RevisionSample())
        assert read.sample(begins_at + index * resolution.step_s) == expected


@given(resolutions, st.binary(max_size=200))
def test_what_is_no_block_is_read_as_an_empty_one(resolution: Resolution, found: bytes) -> None:
    block = decode_block(resolution, 0, found)
    assert block.sample(0) == RevisionSample()


@pytest.mark.parametrize("num_metrics", [3, len(METRICS) + 2])
def test_a_block_of_another_version_has_the_metrics_that_both_know(num_metrics: int) -> None:
    block = Block(FINE, 0)
    block.put(15, RevisionSample(*(float(n) for n in range(len(METRICS)))))
    columns = [*block.columns, *block.columns][:num_metrics]
    read = decode_block(FINE, 0, Block(FINE, 0, columns).encode())
    known = min(num_metrics, len(METRICS))
    expected = [float(n) for n in range(known)] + [None] * (len(METRICS) - known)
    assert [getattr(read.sample(15), metric) for metric in METRICS] == expected


@given(st.floats(0, 4e9), resolutions)
def test_each_time_has_one_place(at_s: float, resolution: Resolution) -> None:
    step, block = resolution.step_begin(at_s), resolution.block_begin(at_s)
    assert step <= at_s < step + resolution.step_s
    assert block <= step < block + resolution.block_s
    assert (step - block) % resolution.step_s == 0


def test_a_full_block_of_noise_is_bounded() -> None:
    for resolution in (FINE, COARSE):
        block = Block(resolution, 0)
        for index in range(resolution.num_steps):
            noise = (math.sin(index * 37.0 + n * 11.0) ** 2 for n in range(len(METRICS)))
            block.put(index * resolution.step_s, RevisionSample(*noise))
        assert len(block.encode()) < 1400


def test_the_api_has_each_metric() -> None:
    assert ("number", *METRICS) == tuple(RevisionHistoryView.model_fields)
