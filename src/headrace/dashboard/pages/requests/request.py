"""One request: its facts, and its way as a timeline."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace.control.api.context import ContextDep
from headrace.control.api.responses import PhaseView, RequestTimelineView
from headrace.control.api.routes import requests as api
from headrace.core.gateway.request_records import PhaseName
from headrace.dashboard.rendering import render_page

router = APIRouter()

_MIN_WIDTH_PERCENT = 0.4
"""So that short phases can be seen."""


@dataclass(frozen=True, slots=True)
class PhaseKind:
    title: str
    series: int
    """Number of its colour."""


_KINDS = {
    PhaseName.QUEUE: PhaseKind("Queue at the gateway", 6),
    PhaseName.CONNECT: PhaseKind("Connect", 4),
    PhaseName.FIRST_BYTE: PhaseKind("Until first byte", 2),
    PhaseName.RESPONSE: PhaseKind("Response", 1),
}


@dataclass(frozen=True, slots=True)
class PhaseBar:
    """One row of the timeline."""

    phase: PhaseView
    title: str
    series: int
    offset: float
    """In percent of the request's time, as the width."""
    width: float

    @property
    def length_s(self) -> float:
        return self.phase.end_s - self.phase.begin_s


@router.get("/requests/{record_id}")
async def show_request(request: Request, record_id: str, context: ContextDep) -> Response:
    """The request with this record id."""
    record = await api.read_request(record_id, context)
    return render_page(request, "requests/request.html", record=record, bars=_bars(record))


def _bars(record: RequestTimelineView) -> list[PhaseBar]:
    total_s = max([record.total_s, *(phase.end_s for phase in record.timeline)]) or 1.0
    bars = []
    for phase in record.timeline:
        kind = _KINDS[PhaseName(phase.name)]
        title = kind.title
        if phase.name == PhaseName.FIRST_BYTE and record.is_stream:
            title = "Until first token (prefill)"
        elif phase.name == PhaseName.RESPONSE and record.is_stream:
            title = "Stream (decode)"
        width = max(100 * (phase.end_s - phase.begin_s) / total_s, _MIN_WIDTH_PERCENT)
        offset = min(100 * phase.begin_s / total_s, 100 - width)
        bars.append(PhaseBar(phase, title, kind.series, round(offset, 2), round(width, 2)))
    return bars
