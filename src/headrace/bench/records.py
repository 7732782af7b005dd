"""What is sent to a server under measurement, and what was seen of each request.

Knows no HTTP and no statistics: ``load_generator.py`` fills records, ``figures.py`` reads them.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path


class Failure(StrEnum):
    """Why a request failed."""

    CONNECT = "connect"
    """No connection to the server."""
    HTTP_STATUS = "http_status"
    """The server answered with a status of 400 or more."""
    CUT = "cut"
    """The answer ended before its end: connection closed, or no ``[DONE]``."""
    ERROR_EVENT = "error_event"
    """An error came in the middle of a stream."""
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    """The answer is not what the API promises."""


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """A server under measurement."""

    name: str
    base_url: str
    """Without ``/v1`` at its end: ``http://127.0.0.1:8000``."""
    model: str
    api_key: str | None = field(default=None, repr=False)
    ca_certs: Path | None = None
    """A PEM file of authorities that are trusted beside the system's, for HTTPS."""


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request of a workload. Exactly one of ``prompt`` and ``messages`` is set."""

    max_tokens: int
    prompt: str | tuple[int, ...] | None = None
    """Text, or token ids, for ``/v1/completions``."""
    messages: tuple[dict[str, str], ...] | None = None
    """For ``/v1/chat/completions``."""
    arrival_s: float | None = None
    """When a trace says that it comes, in seconds after the first one."""
    follows: int | None = None
    """Index in the workload of the turn before this one: it is sent when that one is answered,
    with that one's messages and answer put before ``messages``."""
    task: str | None = None
    ignore_eos: bool = False


@dataclass(slots=True)
class RequestRecord:
    """One request as the client saw it. Times are seconds since the run's start."""

    index: int
    """Its place in the workload."""
    sent_s: float
    """When its first byte was handed to the socket, or when it should have been, if the
    connection had to be made first."""
    first_token_s: float | None = None
    """When the first piece with text (or a finish reason) arrived; None if not streamed."""
    ended_s: float = 0.0
    chunk_times_s: list[float] = field(default_factory=list)
    """Arrival of each streamed piece that had text. Chunks are not tokens."""
    num_prompt_tokens: int | None = None
    """As the server's usage says."""
    num_output_tokens: int | None = None
    """As the server's usage says."""
    usage_error: str | None = None
    """Why the server's usage, or a number of it, was refused; None if it was not."""
    num_counted_tokens: int | None = None
    """As the tokenizer counts the text that came, where one was given."""
    status: int | None = None
    """HTTP status; None if none arrived."""
    failure: Failure | None = None
    error: str | None = None
    """What went wrong, in one line."""
    finish_reason: str | None = None
    text: str = ""
    task: str | None = None
    due_s: float | None = None
    """When it should have been sent, at a rate or by a trace; None where it follows another one."""
    connect_s: float = 0.0
    """What making its connection took, names and TLS too; 0 where one was used again."""
    head_s: float | None = None
    """When the head of the answer had arrived."""
    num_bytes: int = 0
    """Of the answer's body."""

    @property
    def is_successful(self) -> bool:
        return self.failure is None

    @property
    def latency_s(self) -> float:
        """From sending to the last byte."""
        return self.ended_s - self.sent_s

    @property
    def ttft_s(self) -> float | None:
        """Time to first token."""
        return None if self.first_token_s is None else self.first_token_s - self.sent_s

    @property
    def wait_s(self) -> float | None:
        """In the client's own line, before it was sent; no part of the latency."""
        return None if self.due_s is None else max(0.0, self.sent_s - self.due_s)


@dataclass(frozen=True, slots=True)
class ClientHealth:
    """Whether the client kept up: a result that the client bounds says nothing of the server."""

    cpu_share: float
    """Of one core, 0 to 1, over the run."""
    loop_lag_p99_s: float
    """How late the event loop woke up from a timer."""
    send_lag_p99_s: float
    """How late requests were sent against their planned arrival."""


@dataclass(slots=True)
class LoadResult:
    """One run of one workload against one target, warm-up not included."""

    target: BenchTarget
    records: list[RequestRecord]
    duration_s: float
    """From the first request's sending to the last one's end."""
    client: ClientHealth
    is_streamed: bool


def rounded(record: RequestRecord) -> RequestRecord:
    """The record with its times to the microsecond: more is noise, and makes files large."""
    return replace(
        record,
        sent_s=round(record.sent_s, 6),
        first_token_s=_rounded(record.first_token_s),
        ended_s=round(record.ended_s, 6),
        chunk_times_s=[round(time_s, 6) for time_s in record.chunk_times_s],
        due_s=_rounded(record.due_s),
        connect_s=round(record.connect_s, 6),
        head_s=_rounded(record.head_s),
    )


def _rounded(time_s: float | None) -> float | None:
    return None if time_s is None else round(time_s, 6)
