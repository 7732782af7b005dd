"""The number of retries of a request."""

import pytest

from headrace.gateway.routing.counters import RevisionCounts
from headrace.gateway.routing.retries import MAX_NUM_RETRIES, Retries
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState, TargetState


def replica(name: str) -> ReplicaEndpoint:
    target = TargetState(ServiceState("svc"), 1, 3000, RevisionCounts())
    return ReplicaEndpoint(name, "127.0.0.1", 1, target)


@pytest.fixture
def retries() -> Retries:
    return Retries()


def test_a_lost_request_is_retried_twice(retries: Retries) -> None:
    assert MAX_NUM_RETRIES == 2
    for name in "abc":
        assert not retries.is_exhausted
        retries.failed(replica(name), is_lost=True)
    assert retries.is_exhausted
    assert retries.tried.keys() == {"a", "b", "c"}


def test_an_unprocessed_request_is_retried_without_limit(retries: Retries) -> None:
    for name in "abcdefgh":
        retries.failed(replica(name), is_lost=False)
    assert not retries.is_exhausted
    assert not retries.awaits_probe


def test_after_a_second_loss_a_retry_waits_for_the_replicas_probes(
    retries: Retries,
) -> None:
    one, two = replica("one"), replica("two")
    one.needs_probe = two.needs_probe = True
    retries.failed(one, is_lost=True)
    assert not retries.awaits_probe
    retries.failed(two, is_lost=True)
    assert retries.awaits_probe
    one.needs_probe = False
    assert retries.awaits_probe
    two.needs_probe = False
    assert not retries.awaits_probe
