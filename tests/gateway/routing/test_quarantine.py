"""Which requests are refused because replicas died of them."""

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.gateway.routing.quarantine import (
    ISOLATION_DELAY_S,
    LOSS_WINDOW_S,
    MAX_NUM_DEATHS,
    MAX_NUM_SUSPECTS,
    QUARANTINE_S,
    RETENTION_S,
    Loss,
    Quarantine,
    digest_of,
)

X = digest_of(b"POST", b"/v1/x", b"x")
Y = digest_of(b"POST", b"/v1/x", b"y")


def lost(
    digest: bytes, sent_at: float, lost_at: float, *, is_cut: bool = True, is_isolated: bool = False
) -> Loss:
    return Loss(digest, sent_at, lost_at, is_cut=is_cut, is_isolated=is_isolated)


class Story:
    """Losses and deaths, one second after the other."""

    def __init__(self) -> None:
        self.quarantine = Quarantine()
        self.now = 1000.0

    def death(self, *digests: bytes, revision: int = 1, isolated: bytes | None = None) -> None:
        """These were sent and lost together; the replica was dead."""
        sent_at, self.now = self.now, self.now + 1
        losses = [lost(one, sent_at, self.now, is_isolated=one == isolated) for one in digests]
        self.quarantine.record_death(losses, revision)

    def needs_isolation(self, digest: bytes) -> bool:
        suspect = self.quarantine.find(digest, self.now)
        return suspect is not None and suspect.needs_isolation

    def is_blocked(self, digest: bytes, revision: int = 1) -> bool:
        suspect = self.quarantine.find(digest, self.now)
        return suspect is not None and suspect.is_blocked(revision, self.now)


@pytest.fixture
def story() -> Story:
    return Story()


def confirm(story: Story, digest: bytes = X, revision: int = 1) -> Story:
    story.death(digest, revision=revision)
    story.death(digest, revision=revision)
    story.death(digest, revision=revision, isolated=digest)
    return story


def test_equal_requests_have_equal_digests() -> None:
    digests = {
        digest_of(b"POST", b"/a", b"x"),
        digest_of(b"POST", b"/a", b"x"),
        digest_of(b"POST", b"/a", b""),
        digest_of(b"GET", b"/a", b""),
        digest_of(b"GET", b"/a?x", b""),
    }
    assert len(digests) == 4


def test_three_deaths_the_last_in_isolation_confirm_a_request(story: Story) -> None:
    story.death(X)
    assert not story.needs_isolation(X)
    story.death(X)
    assert story.needs_isolation(X)
    assert not story.is_blocked(X)
    story.death(X, isolated=X)
    assert story.is_blocked(X)


def test_deaths_without_isolation_never_confirm_a_request(story: Story) -> None:
    """Other requests were in flight too."""
    for _ in range(50):
        story.death(X, Y)
    assert story.needs_isolation(X)
    assert not story.is_blocked(X)


def test_a_response_clears_a_suspect(story: Story) -> None:
    story.death(X)
    assert story.quarantine.succeeded(X, 1)
    assert not story.quarantine.succeeded(X, 1)
    story.death(X)
    assert not story.needs_isolation(X)


def test_a_response_of_another_revision_does_not_clear(story: Story) -> None:
    """Otherwise a sound revision would let a request crash an unsound one repeatedly."""
    confirm(story)
    story.quarantine.succeeded(X, 2)
    assert story.is_blocked(X)


def test_other_revisions_accept_a_confirmed_request(story: Story) -> None:
    confirm(story)
    assert not story.is_blocked(X, revision=2)
    assert story.needs_isolation(X)
    story.death(X, revision=2, isolated=X)
    assert story.is_blocked(X, revision=2)


def test_explained_deaths_are_not_attributed_to_others(story: Story) -> None:
    story.death(X, Y)
    story.death(X, Y)
    assert story.needs_isolation(Y)
    story.death(X, isolated=X)
    assert not story.needs_isolation(Y)
    assert len(story.quarantine.suspects) == 1


def test_other_requests_deaths_remain(story: Story) -> None:
    story.death(Y)
    story.death(X, Y)
    story.death(X)
    story.death(X, isolated=X)
    story.death(Y)
    assert story.needs_isolation(Y)


def test_simultaneous_deaths_count_once(story: Story) -> None:
    """As when a machine fails: copies were on their way to all of them before."""
    for _ in range(5):
        loss = lost(X, story.now, story.now + 1)
        story.quarantine.record_death([loss], 1)
    assert not story.needs_isolation(X)


def test_copies_in_one_death_count_once(story: Story) -> None:
    story.quarantine.record_death([lost(X, 0, 1), lost(X, 1, 2), lost(X, 2, 3)], 1)
    suspect = story.quarantine.find(X, 3)
    assert suspect is not None
    assert suspect.num_deaths == 1


def test_requests_sent_to_a_dying_replica_are_not_suspects(story: Story) -> None:
    story.quarantine.record_death([lost(X, 0, 2), lost(Y, 2.5, 3)], 1)
    assert story.quarantine.suspects.keys() == {X}
    # A replica that responded with an error before was not dying yet.
    story.quarantine.record_death([lost(X, 4, 5, is_cut=False), lost(Y, 6, 7)], 1)
    assert story.quarantine.suspects.keys() == {X, Y}


def test_isolation_waits_until_simultaneous_deaths_are_known(story: Story) -> None:
    story.death(X)
    story.death(X)
    suspect = story.quarantine.find(X, story.now)
    assert suspect is not None
    assert not suspect.may_be_sent(story.now + ISOLATION_DELAY_S / 2)
    assert suspect.may_be_sent(story.now + ISOLATION_DELAY_S)
    suspect.is_isolated = True
    assert not suspect.may_be_sent(story.now + ISOLATION_DELAY_S)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_order_of_detection_is_irrelevant(story: Story, order: tuple[int, ...]) -> None:
    for place in order:
        loss = lost(X, story.now + place, story.now + place + 1)
        story.quarantine.record_death([loss], 1)
    suspect = story.quarantine.find(X, story.now)
    assert suspect is not None
    assert suspect.num_deaths == 3


def test_a_confirmation_expires_into_isolation(story: Story) -> None:
    confirm(story)
    story.now += QUARANTINE_S - 0.1
    assert story.is_blocked(X)
    story.now += 0.1
    assert not story.is_blocked(X)
    assert story.needs_isolation(X)
    story.death(X, isolated=X)
    assert story.is_blocked(X)
    story.now += RETENTION_S
    assert not story.needs_isolation(X)
    assert len(story.quarantine.suspects) == 0


def test_suspects_expire_sooner_than_confirmed_requests(story: Story) -> None:
    story.death(X)
    story.death(X)
    story.now += QUARANTINE_S
    assert not story.needs_isolation(X)
    story.death(Y)
    story.now += QUARANTINE_S
    story.quarantine.remove_expired(story.now)
    assert len(story.quarantine.suspects) == 0


def test_refused_requests_are_reported(story: Story) -> None:
    story.death(Y)
    confirm(story)
    [reported] = story.quarantine.quarantined(story.now)
    assert reported.digest == X
    assert reported.revisions == (1,)
    assert reported.blocked_s(story.now) == QUARANTINE_S
    assert story.quarantine.quarantined(story.now + QUARANTINE_S) == []


def test_memory_is_bounded_and_confirmed_requests_are_retained(story: Story) -> None:
    confirm(story)
    for number in range(3 * MAX_NUM_SUSPECTS):
        story.death(digest_of(b"POST", b"/", b"%d" % number))
        story.now -= 1
    assert len(story.quarantine.suspects) == MAX_NUM_SUSPECTS
    assert story.is_blocked(X)
    for _ in range(10 * MAX_NUM_DEATHS):
        story.death(X, isolated=X)
    suspect = story.quarantine.find(X, story.now)
    assert suspect is not None
    assert suspect.num_deaths <= MAX_NUM_DEATHS


def test_the_window_exceeds_a_servers_exit_time() -> None:
    assert LOSS_WINDOW_S >= 5


class World:
    """Requests go to replicas as the quarantine allows; the cause, X, crashes each that it is
    sent to, sooner or later."""

    def __init__(self, random: Random, num_replicas: int, num_others: int) -> None:
        self._random = random
        self.quarantine = Quarantine()
        self.now = 0.0
        self.num_killed = 0
        others = [digest_of(b"POST", b"/", b"%d" % n) for n in range(num_others)]
        copies = [random.randint(1, 3) for _ in others]
        self.num_copies = random.randint(1, 3)
        self.waiting = [X] * self.num_copies
        for digest, num in zip(others, copies, strict=True):
            self.waiting += [digest] * num
        self.under_way: list[list[Loss]] = [[] for _ in range(num_replicas)]

    @property
    def is_over(self) -> bool:
        return not self.waiting and not any(self.under_way)

    def send(self) -> None:
        """As the router does; ``lost_at`` is not set yet."""
        self.now += 1
        digest = self._random.choice(self.waiting)
        suspect = self.quarantine.find(digest, self.now)
        if suspect is not None and suspect.is_blocked(1, self.now):
            assert digest == X
            self.waiting.remove(digest)
            return
        is_isolated = suspect is not None and suspect.needs_isolation
        if suspect is not None and is_isolated and not suspect.may_be_sent(self.now):
            return
        free = self.under_way
        if is_isolated:
            if any(one.is_isolated and one.digest == digest for sent in free for one in sent):
                return
            free = [sent for sent in free if not any(one.is_isolated for one in sent)]
        if free:
            self.waiting.remove(digest)
            self._random.choice(free).append(
                lost(digest, self.now, math.inf, is_isolated=is_isolated)
            )

    def end(self) -> None:
        """Of one replica, or of one request there."""
        self.now += 1
        sent = self._random.choice([one for one in self.under_way if one])
        if any(one.digest == X for one in sent):
            self.num_killed += 1
            self.waiting += [one.digest for one in sent]
            self.quarantine.record_death([replace(one, lost_at=self.now) for one in sent], 1)
            sent.clear()
        else:
            one = self._random.choice(sent)
            sent.remove(one)
            self.quarantine.succeeded(one.digest, 1)


@settings(max_examples=300, deadline=None)
@given(
    random=st.randoms(use_true_random=False), replicas=st.integers(1, 5), others=st.integers(0, 8)
)
def test_only_the_cause_is_confirmed(random: Random, replicas: int, others: int) -> None:
    world = World(random, replicas, others)
    for _ in range(5000):
        if world.is_over:
            break
        if world.waiting and (random.random() < 0.7 or not any(world.under_way)):
            world.send()
        else:
            world.end()
        assert all(one.digest == X for one in world.quarantine.quarantined(world.now))
    assert world.is_over
    if world.num_copies == 1:
        assert world.num_killed == 3 or others
    assert world.num_killed <= 3 + 2 * world.num_copies
