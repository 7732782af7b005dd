"""Within a target: the least loaded replica, unless another has the prefix cached."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.routing import balancer
from headrace.gateway.routing.balancer import (
    AFFINITY_SLACK,
    AFFINITY_SLACK_SHARE,
    BLOCK_BYTES,
    BLOCK_EDGES,
    PrefixAffinity,
    pick,
    prefix_hashes,
)
from headrace.gateway.routing.counters import RevisionCounts
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState, TargetState


def replicas_with(*outstanding: int) -> list[ReplicaEndpoint]:
    target = TargetState(ServiceState("openllm"), 1, 3000, RevisionCounts())
    replicas = []
    for number, count in enumerate(outstanding):
        replica = ReplicaEndpoint(f"r{number}", "127.0.0.1", 20000 + number, target)
        replica.num_outstanding = count
        replicas.append(replica)
    return replicas


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 1000))
def test_without_affinity_the_least_loaded_replica_is_chosen(outstanding, turn):
    replicas = replicas_with(*outstanding)
    assert pick(replicas, None, turn).num_outstanding == min(outstanding)


def test_equally_loaded_replicas_alternate():
    replicas = replicas_with(0, 0, 0)
    assert [pick(replicas, None, turn).replica_id for turn in range(4)] == ["r0", "r1", "r2", "r0"]


@pytest.mark.parametrize("fewest", [0, int(AFFINITY_SLACK / AFFINITY_SLACK_SHARE), 30])
def test_the_slack_is_the_larger_of_both_limits(fewest):
    slack = int(max(AFFINITY_SLACK, fewest * AFFINITY_SLACK_SHARE))
    idle, cache_hit = replicas_with(fewest, fewest + slack)
    assert pick([idle, cache_hit], cache_hit, 0) is cache_hit
    cache_hit.num_outstanding += 1
    assert pick([idle, cache_hit], cache_hit, 0) is idle


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.integers(0, 1000), st.data())
def test_affinity_is_followed_within_its_slack_and_never_beyond(outstanding, turn, data):
    replicas = replicas_with(*outstanding)
    cache_hit = data.draw(st.sampled_from(replicas))
    fewest = min(outstanding)
    slack = max(AFFINITY_SLACK, fewest * AFFINITY_SLACK_SHARE)
    picked = pick(replicas, cache_hit, turn)
    if cache_hit.num_outstanding <= fewest + slack:
        assert picked is cache_hit
    else:
        assert picked.num_outstanding == fewest


# Prefix affinity


def _replica(number: int) -> ReplicaEndpoint:
    return replicas_with(*[0] * (number + 1))[number]


def hashes_of(prompt: bytes) -> tuple[int, ...]:
    return prefix_hashes(memoryview(prompt))


def test_an_incomplete_block_has_no_hash():
    assert hashes_of(b"") == ()
    assert hashes_of(b"x" * (BLOCK_BYTES - 1)) == ()
    assert len(hashes_of(b"x" * BLOCK_BYTES)) == 1


def test_bytes_beyond_the_last_block_are_ignored():
    longest = b"x" * BLOCK_EDGES[-1]
    assert hashes_of(longest) == hashes_of(longest + b"y" * 100_000)
    assert len(hashes_of(longest)) == len(BLOCK_EDGES) == 96


def test_block_size_doubles_after_every_sixteen():
    sizes = [end - begin for begin, end in pairwise((0, *BLOCK_EDGES))]
    assert sizes == sorted(sizes)
    assert sizes[::16] == [BLOCK_BYTES * 2**doubling for doubling in range(6)]
    assert BLOCK_EDGES[-1] == 252 * 1024


@pytest.mark.parametrize("at", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES - 1])
def test_every_byte_affects_the_hash_of_its_block_and_of_all_later_ones(at):
    prompt = b"x" * 3 * BLOCK_BYTES
    other = prompt[:at] + b"y" + prompt[at + 1 :]
    are_equal = [a == b for a, b in zip(hashes_of(prompt), hashes_of(other), strict=True)]
    assert are_equal == [at >= end for end in (BLOCK_BYTES, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES)]


@given(st.binary(max_size=3000), st.binary(max_size=3000), st.binary(max_size=3000))
def test_shared_prefixes_have_equal_hashes(beginning, one, other):
    first, second = hashes_of(beginning + one), hashes_of(beginning + other)
    num_shared = sum(edge <= len(beginning) for edge in BLOCK_EDGES)
    assert first[:num_shared] == second[:num_shared]


def test_the_longest_cached_prefix_is_used():
    affinity = PrefixAffinity()
    short, long = _replica(1), _replica(2)
    system = b"You are a helpful assistant. " * 20
    conversation = system + b"What is the capital of France? " * 20
    affinity.record(hashes_of(conversation), long)
    affinity.record(hashes_of(system), short)
    assert affinity.find(hashes_of(conversation + b"And of Spain? " * 30)) is long
    assert affinity.find(hashes_of(system + b"Tell me a joke. " * 30)) is short
    assert affinity.find(hashes_of(b"Something else. " * 30)) is None
    assert affinity.find(()) is None


def test_the_least_recently_used_prefixes_are_evicted(monkeypatch):
    monkeypatch.setattr(balancer, "MAX_NUM_PREFIXES", 10)
    affinity = PrefixAffinity()
    one = _replica(1)
    kept = (1, 2, 3)
    affinity.record(kept, one)
    for number in range(100, 130):
        affinity.record((number,), one)
        affinity.record(kept, one)
        assert len(affinity) <= 10
    assert affinity.find(kept) is one
    assert affinity.find((100,)) is None
    assert affinity.find((129,)) is one
    assert len(affinity) == 10


def test_a_lookup_refreshes_a_prefix(monkeypatch):
    monkeypatch.setattr(balancer, "MAX_NUM_PREFIXES", 3)
    affinity = PrefixAffinity()
    one = _replica(1)
    affinity.record((1, 2, 3), one)
    affinity.record((1,), one)
    affinity.record((4,), one)
    assert [number for number in (1, 2, 3, 4) if affinity.find((number,))] == [1, 3, 4]
