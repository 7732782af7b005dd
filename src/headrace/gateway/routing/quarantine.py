"""Queries of death: requests that crash the replicas that they are sent to.

A request is identified by its digest. One that was lost at a replica (cut, or answered with an
error) that was found dead soon after is a suspect, and so is every other request that the replica
lost then. The next good response clears a suspect. To find the cause:

- A suspect of `NUM_DEATHS_BEFORE_ISOLATION` consecutive deaths is isolated: one copy of it is sent
  at a time, `ISOLATION_DELAY_S` after its last death or later, to a replica that is known to be
  alive and has no other isolated request.
- If that replica dies too, the suspect is confirmed, unless another request was lost in all of its
  deaths: copies are blocked for `QUARANTINE_S`, and other suspects are cleared of its deaths.
  After that time it is isolated again.

A request that crashes replicas is lost in every crash that it causes. So while there is one such
request, no other one can be confirmed: the cause was lost in all deaths of the other one too.
Replicas that die at about the same time, as when a machine fails, confirm nothing: deaths count as
consecutive only if the request was sent to the next replica after the last one died, a request that
was sent after a replica had begun to lose requests is no suspect, and when a request is isolated
the remaining replicas are known. Pure.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NUM_DEATHS_BEFORE_ISOLATION = 2
ISOLATION_DELAY_S = 1.0
"""By then all replicas that died together have been found dead."""
LOSS_WINDOW_S = 10.0
"""A replica that is found dead within this time after it lost a request may have died of it: a
server may answer with an error and exit seconds later."""
QUARANTINE_S = 600.0
"""After the last death. Suspects that are not confirmed expire then."""
RETENTION_S = 3600.0
"""After the last death. Confirmed suspects expire then."""
MAX_NUM_SUSPECTS = 1024
"""Per service. Beyond it those with the fewest deaths are evicted, the oldest of them first."""
MAX_NUM_DEATHS = 16
"""Stored per suspect."""
DIGEST_BYTES = 16


def digest_of(method: bytes, path: bytes, body: bytes) -> bytes:
    """Equal for copies of one request; a one-way function of it."""
    digest = hashlib.sha256(b"%b %b\n" % (method, path))
    digest.update(body)
    return digest.digest()[:DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class Loss:
    """One attempt without a good response."""

    digest: bytes
    sent_at: float
    lost_at: float
    is_cut: bool
    """Its connection was closed. Else the response was an error, or the attempt was aborted."""
    is_isolated: bool


@dataclass(frozen=True, slots=True)
class _Death:
    """The death of a replica that had lost one suspect."""

    number: int
    revision: int
    loss: Loss


class Suspect:
    """One request that was lost when a replica died."""

    __slots__ = ("_confirmed_by", "_deaths", "digest", "is_isolated", "num_deaths")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self._deaths: list[_Death] = []
        """The last loss is last."""
        self._confirmed_by: set[int] = set()
        """Numbers of the deaths that no other request can have caused."""
        self.num_deaths = 0
        """Consecutive ones."""
        self.is_isolated = False
        """A copy is in flight. The router sets it."""

    @property
    def needs_isolation(self) -> bool:
        return self.num_deaths >= NUM_DEATHS_BEFORE_ISOLATION

    @property
    def is_confirmed(self) -> bool:
        return self.needs_isolation and not self._confirmed_by.isdisjoint(self.numbers)

    @property
    def revisions(self) -> tuple[int, ...]:
        """The revisions whose replicas died."""
        return tuple(sorted({death.revision for death in self._deaths}))

    @property
    def numbers(self) -> set[int]:
        """Of the deaths."""
        return {death.number for death in self._deaths}

    def is_blocked(self, revision: int, now: float) -> bool:
        """Whether it may not be sent to replicas of this revision."""
        return self.blocked_s(now) > 0 and any(one.revision == revision for one in self._deaths)

    def blocked_s(self, now: float) -> float:
        """For how much longer copies are blocked."""
        return max(0.0, self._last_at + QUARANTINE_S - now) if self.is_confirmed else 0.0

    def is_expired(self, now: float) -> bool:
        return now - self._last_at >= (RETENTION_S if self.is_confirmed else QUARANTINE_S)

    def may_be_sent(self, now: float) -> bool:
        """Whether a copy may be sent now, in isolation."""
        return not self.is_isolated and now - self._last_at >= ISOLATION_DELAY_S

    def add(self, loss: Loss, revision: int, number: int) -> None:
        self._deaths.append(_Death(number, revision, loss))
        self._deaths.sort(key=lambda death: death.loss.lost_at)
        self._retain(lambda death: True)

    def confirm(self, number: int) -> None:
        """No other request can have caused this death."""
        self._confirmed_by.add(number)

    def drop(self, numbers: set[int]) -> None:
        """Another request caused these deaths."""
        self._retain(lambda death: death.number not in numbers)

    def clear(self, revision: int) -> None:
        """A replica of this revision gave a good response."""
        self._retain(lambda death: death.revision != revision)

    @property
    def _last_at(self) -> float:
        return self._deaths[-1].loss.lost_at if self._deaths else -math.inf

    def _retain(self, is_retained: Callable[[_Death], bool]) -> None:
        self._deaths = [death for death in self._deaths if is_retained(death)][-MAX_NUM_DEATHS:]
        self._confirmed_by &= self.numbers
        counted: set[int] = set()
        last_at = -math.inf
        for death in self._deaths:
            if death.loss.sent_at >= last_at and death.number not in counted:
                counted.add(death.number)
                last_at = death.loss.lost_at
        self.num_deaths = len(counted)


class Quarantine:
    """The suspects of one service."""

    __slots__ = ("_num_deaths", "suspects")

    def __init__(self) -> None:
        self.suspects: dict[bytes, Suspect] = {}
        """By digest, in the order of their first deaths. Read-only for others."""
        self._num_deaths = 0

    def find(self, digest: bytes, now: float) -> Suspect | None:
        """The suspect with this digest, if there is one that has not expired."""
        suspect = self.suspects.get(digest)
        if suspect is not None and suspect.is_expired(now):
            del self.suspects[digest]
            return None
        return suspect

    def record_death(self, losses: Sequence[Loss], revision: int) -> None:
        """A replica of this revision was found dead; ``losses``: all its recent ones."""
        self._num_deaths += 1
        number = self._num_deaths
        lost: dict[bytes, Suspect] = {}
        began_at = min((loss.lost_at for loss in losses if loss.is_cut), default=math.inf)
        for loss in losses:
            if loss.sent_at > began_at:  # the replica was failing already
                continue
            suspect = self.suspects.get(loss.digest)
            if suspect is None:
                suspect = self.suspects[loss.digest] = Suspect(loss.digest)
            suspect.add(loss, revision, number)
            lost[loss.digest] = suspect
        for digest in lost.keys() & {loss.digest for loss in losses if loss.is_isolated}:
            suspect = lost[digest]
            numbers = suspect.numbers
            if not any(one is not suspect and numbers <= one.numbers for one in lost.values()):
                suspect.confirm(number)
                if suspect.is_confirmed:
                    self._clear_others(suspect)
        self._shrink()

    def succeeded(self, digest: bytes, revision: int) -> bool:
        """A replica of this revision gave a good response. Whether the request was a suspect."""
        suspect = self.suspects.get(digest)
        if suspect is None:
            return False
        suspect.clear(revision)
        if not suspect.revisions:
            del self.suspects[digest]
        return True

    def remove_expired(self, now: float) -> None:
        for suspect in list(self.suspects.values()):
            if suspect.is_expired(now):
                del self.suspects[suspect.digest]

    def quarantined(self, now: float) -> list[Suspect]:
        """The suspects that are blocked now."""
        return [suspect for suspect in self.suspects.values() if suspect.blocked_s(now) > 0]

    def _clear_others(self, cause: Suspect) -> None:
        numbers = cause.numbers
        for suspect in list(self.suspects.values()):
            if not suspect.is_confirmed:  # the cause is confirmed
                suspect.drop(numbers)
                if not suspect.revisions:
                    del self.suspects[suspect.digest]

    def _shrink(self) -> None:
        excess = len(self.suspects) - MAX_NUM_SUSPECTS
        if excess > 0:
            least_first = sorted(
                self.suspects.values(), key=lambda one: (one.is_confirmed, one.num_deaths)
            )
            for suspect in least_first[:excess]:
                del self.suspects[suspect.digest]
