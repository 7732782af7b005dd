"""Requests as planned and as recorded.

``load/load_generator.py`` fills the records, ``figures/run_figures.py`` reads them.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path


class Failure(StrEnum):
    """Why a request failed."""

    CONNECT = "connect"
    """The connection failed."""
    HTTP_STATUS = "http_status"
    """Status 400 or above."""
    CUT = "cut"
    """The response was incomplete: connection closed, or no ``[DONE]``."""
    ERROR_EVENT = "error_event"
    """An error event within a stream."""
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    """The response does not follow the API."""


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """A server under measurement."""

    name: str
    base_url: str
    """Without ``/v1``: ``http://127.0.0.1:8000``."""
    model: str
    api_key: str | None = field(default=None, repr=False)
    ca_certs: Path | None = None
    """PEM file of CA certificates to trust in addition to the system's, for HTTPS."""


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request of a workload. Exactly one of ``prompt`` and ``messages`` is set."""

    max_tokens: int
    prompt: str | tuple[int, ...] | None = None
    """Text, or token ids, for ``/v1/completions``."""
    messages: tuple[dict[str, str], ...] | None = None
    """For ``/v1/chat/completions``."""
    arrival_s: float | None = None
    """Arrival time of a trace, in seconds after the first request."""
    follows: int | None = None
    """Index in the workload of the previous turn. This turn is sent after that one, with its
    messages and its response before ``messages``."""
    task: str | None = None
    ignore_eos: bool = False


@dataclass(slots=True)
class RequestRecord:
    """One request as the client observed it. Times are seconds since the start of the run."""

    index: int
    """Position in the workload."""
    sent_s: float
    """When its first byte was handed to the socket, or when opening a connection for it began."""
    first_token_s: float | None = None
    """Arrival of the first chunk with text (or a finish reason); None if not streamed."""
    ended_s: float = 0.0
    chunk_times_s: list[float] = field(default_factory=list)
    """Arrival of each chunk with text. Chunks are not tokens."""
    num_prompt_tokens: int | None = None
    """By the server's usage."""
    num_output_tokens: int | None = None
    """By the server's usage."""
    usage_error: str | None = None
    """Why the server's usage, or a number of it, was rejected; None if it was not."""
    num_counted_tokens: int | None = None
    """Output tokens as counted by the tokenizer, if one is given."""
    status: int | None = None
    """HTTP status; None without a response."""
    failure: Failure | None = None
    error: str | None = None
    """One line."""
    finish_reason: str | None = None
    text: str = ""
    task: str | None = None
    due_s: float | None = None
    """Scheduled sending time, at a rate or by a trace; None for a turn that follows another."""
    connect_s: float = 0.0
    """Time to open the connection, DNS and TLS included; 0 if one was reused."""
    head_s: float | None = None
    """When the response headers had arrived."""
    num_bytes: int = 0
    """Of the response body."""

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
        """Time queued in the client before sending; not part of the latency."""
        return None if self.due_s is None else max(0.0, self.sent_s - self.due_s)


@dataclass(frozen=True, slots=True)
class ClientHealth:
    """How well the client kept up; if it was the bottleneck, figures do not describe the server."""

    cpu_share: float
    """CPU time of one core, 0 to 1, over the run."""
    loop_lag_p99_s: float
    """Delay of timers of the event loop."""
    send_lag_p99_s: float
    """Delay of sends relative to their scheduled time."""


@dataclass(slots=True)
class LoadResult:
    """One run of one workload against one target, without warm-up."""

    target: BenchTarget
    records: list[RequestRecord]
    duration_s: float
    """From the first send to the last completion."""
    client: ClientHealth
    is_streamed: bool


def rounded(record: RequestRecord) -> RequestRecord:
    """The record with its times in whole microseconds, which keeps files small."""
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
