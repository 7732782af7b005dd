"""Charts of a service's metrics over time, per revision side by side."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace.control.api.context import ContextDep
from headrace.control.api.responses import HistoryView
from headrace.control.api.to_response import view_history
from headrace.control.history.series import Period
from headrace.control.operations.finding import find_service
from headrace.control.operations.history import read_history
from headrace.dashboard.pages.services.service_page import render_service_page

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. Each of its metrics is a line for each revision."""

    title: str
    metrics: tuple[str, ...]
    """Fields of `RevisionHistoryView`; lines of the second are dashed."""
    unit: str = ""
    """``%`` shows shares from 0 to 1."""
    note: str = ""


CHARTS = (
    Chart("Requests", ("requests_per_s",), "requests/s"),
    Chart("Errors", ("errors_per_s",), "errors/s"),
    Chart("Output tokens", ("generation_tokens_per_s",), "tokens/s"),
    Chart("Prompt tokens", ("prompt_tokens_per_s",), "tokens/s"),
    Chart("Time to first token", ("ttft_p95_s", "ttft_p50_s"), "s", "p95 solid, p50 dashed"),
    Chart(
        "Inter-token latency",
        ("inter_token_latency_p95_s", "inter_token_latency_p50_s"),
        "s",
        "p95 solid, p50 dashed",
    ),
    Chart("Queue", ("num_waiting",), "requests"),
    Chart("Running", ("num_running",), "requests"),
    Chart("KV cache usage", ("kv_cache_usage",), "%"),
    Chart("Prefix cache hits", ("prefix_cache_hit_ratio",), "%"),
    Chart("Preemptions", ("preemptions_per_s",), "1/s"),
    Chart("Ready replicas", ("num_ready_replicas",), "replicas"),
)
PERIODS = {Period.HOUR: "Last hour", Period.DAY: "Last day", Period.MONTH: "Last 30 days"}


@router.get("/services/{service}/metrics")
def show_metrics(
    request: Request, service: str, context: ContextDep, period: Period = Period.HOUR
) -> Response:
    """The charts; the browser draws them from `read_metrics`."""
    with context.store.read() as queries:
        find_service(queries, service)
    return render_service_page(
        request, service, "Metrics", "services/metrics.html", charts=CHARTS, periods=PERIODS,
        period=period,
    )  # fmt: skip


@router.get("/services/{service}/metrics/data")
def read_metrics(service: str, context: ContextDep, period: Period = Period.HOUR) -> HistoryView:
    """Aligned series of all revisions."""
    return view_history(read_history(context.store, service, period, context.now()))
