"""Renders the records of requests for the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.cli.deploy.render.resources import show_time
from headrace.cli.tables import print_fields, print_table

if TYPE_CHECKING:
    from headrace.control.api.responses import PhaseView, RequestTimelineView, RequestView


def print_requests(requests: Sequence["RequestView"]) -> None:
    print(f"{len(requests)} request(s) found.")
    if not requests:
        return
    print()
    print_table(
        (
            "When",
            "Status",
            "Revision",
            "Key",
            "Model",
            "Queued",
            "TTFT",
            "Total",
            "Tokens",
            "Retries",
            "ID",
            "Ended",
        ),
        (
            (
                show_time(request.arrived_at),
                str(request.status),
                "" if request.revision is None else str(request.revision),
                request.key or "",
                request.model or "",
                _show_s(request.queued_s),
                _show_s(request.ttft_s),
                _show_s(request.total_s),
                _show_tokens(request),
                str(request.num_retries),
                request.record_id,
                _show_end(request),
            )
            for request in requests
        ),
    )


def print_request(request: "RequestTimelineView") -> None:
    """One request in full."""
    print_fields(
        ("ID", request.record_id),
        ("Request ID", request.request_id),
        ("Service", request.service),
        ("Request", f"{request.method} {request.path}"),
        ("Arrived", show_time(request.arrived_at)),
        ("Status", request.status),
        ("Ended", _show_end(request)),
        ("Revision", "(none)" if request.revision is None else request.revision),
        ("Replica", request.replica_id or "(none)"),
        ("Key", request.key or "(none)"),
        ("Model", request.model or "(unknown)"),
        ("Tokens", _show_tokens(request) or "(unknown)"),
        ("TTFT", _show_s(request.ttft_s) or "(none)"),
        ("Total", _show_s(request.total_s)),
        ("Retries", request.num_retries),
    )
    if request.is_stream:
        gaps = f", mean {_show_s(request.mean_gap_s)}, max {_show_s(request.max_gap_s)} apart"
        chunks = f"{request.num_chunks}{gaps if request.max_gap_s is not None else ''}"
        print_fields(("Chunks", chunks))
    print("  Timeline")
    for phase in request.timeline:
        print(f"  - {_show_phase(phase)}")


def _show_phase(phase: "PhaseView") -> str:
    length_s = phase.end_s - phase.begin_s
    where = "" if phase.replica_id is None else f" at {phase.replica_id}"
    outcome = "" if phase.outcome in (None, "ok") else f": {phase.outcome}"
    return f"{_show_s(phase.begin_s):>9} {phase.name:<10} {_show_s(length_s)}{where}{outcome}"


def _show_end(request: "RequestView") -> str:
    return f"{request.end} ({request.error_code})" if request.error_code else request.end


def _show_tokens(request: "RequestView") -> str:
    """``37 (16 cached) + 8``."""
    if request.prompt_tokens is None:
        return ""
    cached = f" ({request.cached_tokens} cached)" if request.cached_tokens else ""
    return f"{request.prompt_tokens}{cached} + {request.completion_tokens}"


def _show_s(seconds: float | None) -> str:
    """``1.23 s`` or ``45.6 ms``."""
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
