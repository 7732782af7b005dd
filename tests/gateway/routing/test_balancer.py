"""Inside a target: the least busy replica, unless another knows the prompt and is not too busy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.routing.balancer import AFFINITY_SLACK, AFFINITY_SLACK_SHARE, pick
from headrace.gateway.routing.replica import Replica
from headrace.gateway.routing.target_state import TargetState
from headrace.gateway.routing.topology import RevisionCounts, ServiceState


def replicas_with(*outstanding: int) -> list[Replica]:
    target = TargetState(ServiceState("openllm"), 1, 3000, RevisionCounts())
    replicas = []
    for number, count in enumerate(outstanding):
        replica = Replica(f"r{number}", "127.0.0.1", 20000 + number, target)
        replica.num_outstanding = count
        replicas.append(replica)
    return replicas


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 1000))
def test_without_affinity_the_least_busy_is_picked(outstanding, turn):
    replicas = replicas_with(*outstanding)
    assert pick(replicas, None, turn).num_outstanding == min(outstanding)


def test_equals_take_turns():
    replicas = replicas_with(0, 0, 0)
    assert [pick(replicas, None, turn).replica_id for turn in range(4)] == ["r0", "r1", "r2", "r0"]


@pytest.mark.parametrize("fewest", [0, int(AFFINITY_SLACK / AFFINITY_SLACK_SHARE), 30])
def test_the_slack_is_the_greater_one_to_the_last_request(fewest):
    slack = int(max(AFFINITY_SLACK, fewest * AFFINITY_SLACK_SHARE))
    idle, affine = replicas_with(fewest, fewest + slack)
    assert pick([idle, affine], affine, 0) is affine
    affine.num_outstanding += 1
    assert pick([idle, affine], affine, 0) is idle


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.integers(0, 1000), st.data())
def test_affinity_wins_within_its_slack_and_never_beyond(outstanding, turn, data):
    replicas = replicas_with(*outstanding)
    affine = data.draw(st.sampled_from(replicas))
    fewest = min(outstanding)
    slack = max(AFFINITY_SLACK, fewest * AFFINITY_SLACK_SHARE)
    picked = pick(replicas, affine, turn)
    if affine.num_outstanding <= fewest + slack:
        assert picked is affine
    else:
        assert picked.num_outstanding == fewest
