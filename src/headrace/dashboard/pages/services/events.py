"""The events of a service, newest first."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import EventView
from headrace.control.api.routes.bodies import MAX_INTEGER
from headrace.control.api.to_response import view_event
from headrace.control.operations.finding import find_service
from headrace.dashboard.live.stream import follow_part, threaded
from headrace.dashboard.pages.services.service_page import render_service_page

router = APIRouter()

_NUM_A_PAGE = 50
_NUM_SEARCHED = 500
"""Events among which those of one replica or revision are looked for."""


@router.get("/services/{service}/events")
def list_events(
    request: Request,
    service: str,
    context: ContextDep,
    before: Annotated[int | None, Query(ge=1, le=MAX_INTEGER)] = None,
) -> Response:
    """One page of events; the newest are kept current."""
    events = _read(context, service, before)
    return render_service_page(
        request, service, "Events", "services/events.html", events=events, before=before,
        oldest_id=events[-1].event_id if len(events) == _NUM_A_PAGE else None,
    )  # fmt: skip


@router.get("/services/{service}/live/events")
async def follow_events(request: Request, service: str, context: ContextDep) -> Response:
    """The newest events of the service, as server-sent events."""
    read = threaded(lambda: {"events": _read(context, service, None)})
    return follow_part(request, "services/_events.html", read)


def events_of(context: Context, service: str, subject: str) -> list[EventView]:
    """Those of one subject among the newest events of the service, newest first."""
    with context.store.read() as queries:
        events = queries.events(service=service, limit=_NUM_SEARCHED)
    return [view_event(event) for event in reversed(events) if event.subject == subject]


def _read(context: Context, service: str, before: int | None) -> list[EventView]:
    """Newest first."""
    with context.store.read() as queries:
        find_service(queries, service)
        events = queries.events(service=service, limit=_NUM_A_PAGE, before_id=before)
    return [view_event(event) for event in reversed(events)]
