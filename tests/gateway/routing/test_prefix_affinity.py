"""Prompts that begin alike go to the replica that knows the beginning."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.routing import prefix_affinity
from headrace.gateway.routing.prefix_affinity import (
    BLOCK_BYTES,
    BLOCK_EDGES,
    PrefixAffinity,
    prefix_hashes,
)
from headrace.gateway.routing.replica import Replica
from headrace.gateway.routing.target_state import TargetState
from headrace.gateway.routing.topology import RevisionCounts, ServiceState


def replica(number: int) -> Replica:
    target = TargetState(ServiceState("openllm"), 1, 3000, RevisionCounts())
    return Replica(f"r{number}", "127.0.0.1", 20000 + number, target)


def hashes_of(prompt: bytes) -> tuple[int, ...]:
    return prefix_hashes(memoryview(prompt))


def test_what_fills_no_block_has_no_hash():
    assert hashes_of(b"") == ()
    assert hashes_of(b"x" * (BLOCK_BYTES - 1)) == ()
    assert len(hashes_of(b"x" * BLOCK_BYTES)) == 1


def test_beyond_the_last_edge_nothing_is_looked_at():
    longest = b"x" * BLOCK_EDGES[-1]
    assert hashes_of(longest) == hashes_of(longest + b"y" * 100_000)
    assert len(hashes_of(longest)) == len(BLOCK_EDGES) == 96


def test_blocks_double_after_every_sixteen():
    sizes = [end - begin for begin, end in pairwise((0, *BLOCK_EDGES))]
    assert sizes == sorted(sizes)
    assert sizes[::16] == [BLOCK_BYTES * 2**doubling for doubling in range(6)]
    assert BLOCK_EDGES[-1] == 252 * 1024


@pytest.mark.parametrize("at", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES - 1])
def test_every_byte_of_a_block_counts_for_it_and_all_after_it(at):
    prompt = b"x" * 3 * BLOCK_BYTES
    other = prompt[:at] + b"y" + prompt[at + 1 :]
    are_equal = [a == b for a, b in zip(hashes_of(prompt), hashes_of(other), strict=True)]
    assert are_equal == [at >= end for end in (BLOCK_BYTES, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES)]


@given(st.binary(max_size=3000), st.binary(max_size=3000), st.binary(max_size=3000))
def test_prompts_share_the_hashes_of_the_blocks_that_they_share(beginning, one, other):
    first, second = hashes_of(beginning + one), hashes_of(beginning + other)
    num_shared = sum(edge <= len(beginning) for edge in BLOCK_EDGES)
    assert first[:num_shared] == second[:num_shared]


def test_the_longest_known_beginning_wins():
    affinity = PrefixAffinity()
    short, long = replica(1), replica(2)
    system = b"You are a helpful assistant. " * 20
    conversation = system + b"What is the capital of France? " * 20
    affinity.record(hashes_of(conversation), long)
    affinity.record(hashes_of(system), short)
    assert affinity.find(hashes_of(conversation + b"And of Spain? " * 30)) is long
    assert affinity.find(hashes_of(system + b"Tell me a joke. " * 30)) is short
    assert affinity.find(hashes_of(b"Something else. " * 30)) is None
    assert affinity.find(()) is None


def test_the_least_recently_used_beginnings_are_forgotten(monkeypatch):
    monkeypatch.setattr(prefix_affinity, "MAX_NUM_BEGINNINGS", 10)
    affinity = PrefixAffinity()
    one = replica(1)
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


def test_what_was_used_again_outlives_what_was_not(monkeypatch):
    monkeypatch.setattr(prefix_affinity, "MAX_NUM_BEGINNINGS", 3)
    affinity = PrefixAffinity()
    one = replica(1)
    affinity.record((1, 2, 3), one)
    affinity.record((1,), one)
    affinity.record((4,), one)
    assert [number for number in (1, 2, 3, 4) if affinity.find((number,))] == [1, 3, 4]
