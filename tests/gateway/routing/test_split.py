"""The split: exact for requests without a key, stable for requests with one."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.routing.counters import RevisionCounts
from headrace.gateway.routing.split import Split, fair_sequence, hash_of, score, seed_of
from headrace.gateway.routing.topology import ServiceState, TargetState

WEIGHTS = st.lists(st.integers(1, 60), min_size=1, max_size=7)


@given(WEIGHTS)
def test_every_prefix_of_the_sequence_is_within_one_request_of_each_share(weights):
    sequence = fair_sequence(weights)
    total = sum(weights)
    counts = [0] * len(weights)
    for num_requests, index in enumerate(sequence * 2, 1):
        counts[index] += 1
        for count, weight in zip(counts, weights, strict=True):
            assert abs(count * total - num_requests * weight) < total


@given(WEIGHTS)
def test_one_period_is_exact_and_as_short_as_possible(weights):
    sequence = fair_sequence(weights)
    divisor = math.gcd(*weights)
    assert Counter(sequence) == {i: weight // divisor for i, weight in enumerate(weights)}


def test_smooth_weighted_round_robin_exceeds_the_bound():
    """Weights at which the algorithm leaves a target more than one request behind."""
    weights = [2, 2, 10, 10, 10, 1, 1]
    total = sum(weights)
    current = [0] * len(weights)
    counts = [0] * len(weights)
    worst = 0.0
    for num_requests in range(1, total + 1):
        current = [value + weight for value, weight in zip(current, weights, strict=True)]
        first = current.index(max(current))
        current[first] -= total
        counts[first] += 1
        lags = [num_requests * w / total - c for w, c in zip(weights, counts, strict=True)]
        worst = max(worst, *lags)
    assert worst > 1
    # The first test checks our sequence at the same weights.
    assert sorted(Counter(fair_sequence(weights)).values()) == sorted(weights)


def test_equal_weights_alternate():
    assert fair_sequence([50, 50]) == [0, 1]
    assert fair_sequence([100]) == [0]


KEYS = [hash_of(b"user-%d" % number) for number in range(2000)]


def placed(weights: dict[int, int]) -> list[int]:
    seeds = {revision: seed_of(revision, 3000) for revision in weights}
    return [max(weights, key=lambda r: score(key, seeds[r], weights[r])) for key in KEYS]


@given(
    st.dictionaries(st.integers(1, 6), st.integers(1, 100), min_size=1, max_size=5),
    st.dictionaries(st.integers(1, 6), st.integers(1, 100), min_size=1, max_size=5),
)
def test_keys_move_only_to_targets_whose_weight_grew(before, after):
    for was, now in zip(placed(before), placed(after), strict=True):
        if was == now or was not in after:
            continue
        # The share of `now`, measured in that of `was`, must have grown.
        assert after[now] * before[was] > before.get(now, 0) * after[was]


def test_keys_are_distributed_by_weight():
    counts = Counter(placed({1: 70, 2: 20, 3: 10}))
    for revision, share in ((1, 0.7), (2, 0.2), (3, 0.1)):
        sigma = math.sqrt(share * (1 - share) * len(KEYS))
        assert abs(counts[revision] - share * len(KEYS)) < 4 * sigma


def test_a_new_target_of_half_the_weight_takes_half_of_the_keys():
    before, after = placed({1: 100}), placed({1: 50, 2: 50})
    moved = sum(was != now for was, now in zip(before, after, strict=True))
    assert abs(moved - len(KEYS) / 2) < 4 * math.sqrt(len(KEYS) / 4)


def test_hashes_are_the_same_in_every_process():
    assert hash_of(b"alice") == 9933345172075899469


def test_the_largest_draw_has_a_finite_score():
    """Its draw is the largest below 1, whose logarithm must not be 0."""
    key_hash = before_mixing(2**64 - 1)
    assert 0.0 < score(key_hash, 0, 1) < math.inf
    assert score(key_hash, 0, 1) > score(key_hash + 1, 0, 1)


def before_mixing(mixed: int) -> int:
    """The input for which splitmix64's finalizer returns this."""
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        mixed = without_shift(mixed, shift) * pow(factor, -1, 2**64) % 2**64
    return mixed


def without_shift(shifted: int, by: int) -> int:
    """The x for which x ^ (x >> by) is this."""
    found = shifted
    for _ in range(64 // by):
        found = shifted ^ (found >> by)
    return found


def test_scores_are_the_same_in_every_process():
    """Splitmix64's first output from state 0 is published: it is the finalizer of its increment.
    A change of the score would move every key at an upgrade."""
    uniform = ((0xE220A8397B1DCDAF >> 12) + 0.5) / 2**52
    assert score(0x9E3779B97F4A7C15, 0, 3) == 3 / -math.log(uniform)
    assert score(0x9E3779B97F4A7C15 ^ 77, 77, 3) == 3 / -math.log(uniform)
    assert seed_of(12, 3000) == hash_of(b"12:3000")


def split(*weights: int) -> Split:
    service = ServiceState("openllm")
    targets = [
        TargetState(service, revision, 3000, RevisionCounts())
        for revision in range(1, len(weights) + 1)
    ]
    for target, weight in zip(targets, weights, strict=True):
        target.weight = weight
    return Split(targets)


def test_choices_repeat_the_sequence():
    both = split(3, 1)
    turns = [both.next().revision for _ in range(8)]
    assert turns == [index + 1 for index in fair_sequence([3, 1])] * 2


@pytest.mark.parametrize("weights", [(100,), (50, 50), (70, 20, 10)])
def test_a_key_goes_to_the_target_with_the_highest_score(weights):
    targets = split(*weights)
    shares = dict(enumerate(weights, 1))
    assert [targets.of_key(key).revision for key in KEYS] == placed(shares)
