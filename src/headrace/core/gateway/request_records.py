"""Records of finished requests, as the gateway stores them and the control plane reads them.

``GET /requests`` on the gateway's admin port returns `RequestRecord`s as JSON. They hold no text of
a request or a response, and of API keys their names only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

DEFAULT_NUM_RECORDS = 1000
"""Stored by a gateway."""
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
"""Records in one response of the admin port."""


STATUS_PATTERN = "^[1-5]([0-9][0-9]|xx)$"


class RequestEnd(StrEnum):
    """How a request ended."""

    FINISHED = "finished"
    """The client has the replica's complete response, whatever its status."""
    CLIENT_DISCONNECTED = "client_disconnected"
    CUT = "cut"
    """The replica failed after the response had started; a stream ended with an error event."""
    TIMEOUT = "timeout"
    """A time limit of the service was exceeded, in the queue or later."""
    FAILED = "failed"
    """The replicas that received it gave no response, and it may not be retried."""
    REJECTED = "rejected"
    """The gateway answered with an error of its own, for any other reason."""


class PhaseName(StrEnum):
    """The phases of a request at the gateway, in their usual order."""

    QUEUE = "queue"
    """It waits at the gateway: for a replica, for a free place, or for its retry."""
    CONNECT = "connect"
    """A connection to a replica is opened."""
    FIRST_BYTE = "first_byte"
    """From sending it to the first byte of the response: the replica's queue and prefill, and all
    of its work if the response is not streamed."""
    RESPONSE = "response"
    """From the first byte of the response to the last: decode, if it is streamed."""


class RequestQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which records to return: the newest ones that match all of these. The parameters of ``GET
    /requests``."""

    service: str | None = None
    revision: int | None = None
    key: str | None = None
    status: Annotated[str, Meta(pattern=STATUS_PATTERN)] | None = None
    """``404``, or ``4xx``."""
    min_duration_s: Annotated[float, Meta(ge=0)] = 0.0
    """Of `RequestRecord.total_s`."""
    record_id: str | None = None
    before: str | None = None
    """The record id of a request: only those that ended before it."""
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT


class AttemptRecord(msgspec.Struct, frozen=True):
    """One attempt at one replica. Times are in seconds from the request's arrival."""

    replica_id: str
    revision: int
    began_s: float
    """The replica was chosen."""
    sent_s: float | None
    """The request was written to a connection. None: no connection could be opened."""
    ended_s: float
    outcome: str
    """``ok``, ``bad_status`` (502, 503 or 504), ``connect_failed``, ``cut``, ``timeout`` or
    ``client_disconnected``."""
    status: int | None = None
    """Of the response, if one started."""


class RequestRecord(msgspec.Struct, frozen=True):
    """One request that has ended. Durations are in seconds, from its arrival unless they say
    otherwise."""

    record_id: str
    """Unique, and safe in URLs."""
    request_id: str
    """As the replica got it in ``x-request-id``: the client's, or else `record_id`. The first 128
    characters."""
    service: str
    arrived_at: float
    """Unix time at which the request was complete."""
    method: str
    path: str
    """As the replica gets it, without the query. The first 256 characters."""
    status: int
    """Of the response; 499: the client had disconnected."""
    end: str
    """A `RequestEnd`."""
    total_s: float
    queued_s: float
    """All waits together."""
    revision: int | None = None
    """Of the last replica that was chosen."""
    replica_id: str | None = None
    """The last one that was chosen."""
    key: str | None = None
    """The name of the API key. None: the service has no keys, or the request had no valid one."""
    model: str | None = None
    """As the response names it."""
    error_code: str | None = None
    """Of the gateway's own error response or error event."""
    ttft_s: float | None = None
    """To the first byte of the response."""
    is_stream: bool = False
    """The response is an event stream."""
    num_chunks: int = 0
    """Parts in which an event stream arrived from the replica; usually one event each."""
    mean_gap_s: float | None = None
    """Between two chunks."""
    max_gap_s: float | None = None
    prompt_tokens: int | None = None
    """This and the next two are from the response's ``usage``. None: it has none, as a stream
    without ``stream_options.include_usage``."""
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    """Prompt tokens that were in the replica's prefix cache."""
    attempts: tuple[AttemptRecord, ...] = ()
    """In their order; all but the last one failed."""

    @property
    def num_retries(self) -> int:
        return max(0, len(self.attempts) - 1)


class Phase(msgspec.Struct, frozen=True):
    """A part of a request's time, ``[begin_s, end_s)`` in seconds from its arrival."""

    name: PhaseName
    begin_s: float
    end_s: float
    replica_id: str | None = None
    """At which replica; None in the queue."""
    outcome: str | None = None
    """Of the attempt, in its last phase."""


def timeline(record: RequestRecord) -> tuple[Phase, ...]:
    """The request's phases, without those of no length; together they are its whole time."""
    phases: list[Phase] = []

    def add(name: PhaseName, end_s: float, replica_id: str | None, outcome: str | None) -> None:
        begin_s = phases[-1].end_s if phases else 0.0
        if end_s > begin_s:
            phases.append(Phase(name, begin_s, end_s, replica_id, outcome))

    for number, attempt in enumerate(record.attempts, start=1):
        at, outcome = attempt.replica_id, attempt.outcome
        add(PhaseName.QUEUE, attempt.began_s, None, None)
        if attempt.sent_s is None:
            add(PhaseName.CONNECT, attempt.ended_s, at, outcome)
            continue
        add(PhaseName.CONNECT, attempt.sent_s, at, None)
        if number == len(record.attempts) and record.ttft_s is not None:
            add(PhaseName.FIRST_BYTE, record.ttft_s, at, None)
            add(PhaseName.RESPONSE, attempt.ended_s, at, outcome)
        else:
            add(PhaseName.FIRST_BYTE, attempt.ended_s, at, outcome)
    add(PhaseName.QUEUE, record.total_s, None, None)
    return tuple(phases)
