"""Events."""

from typing import Annotated

from fastapi import APIRouter, Query

from headrace.control.api.context import ContextDep
from headrace.control.api.responses import EventView
from headrace.control.api.routes.bodies import MAX_INTEGER, Limit
from headrace.control.api.to_response import view_event

router = APIRouter(tags=["events"])


@router.get("/events")
def list_events(
    context: ContextDep,
    service: str | None = None,
    run: str | None = None,
    limit: Limit = 100,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_INTEGER, description="Only events after this id.")
    ] = None,
    before: Annotated[
        int | None, Query(ge=0, le=MAX_INTEGER, description="Only events before this id.")
    ] = None,
) -> list[EventView]:
    """The latest events, oldest first; with ``after``, the first ones after it."""
    with context.store.read() as queries:
        events = queries.events(
            service=service, run_id=run, limit=limit, after_id=after, before_id=before
        )
    return [view_event(event) for event in events]
