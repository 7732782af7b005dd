"""What happened: when, what and why."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from headrace.control.api.context import Context, context_of
from headrace.control.api.viewing import view_event
from headrace.control.api.views import EventView

router = APIRouter(tags=["events"])
ContextDep = Annotated[Context, Depends(context_of)]


@router.get("/events")
def list_events(
    context: ContextDep,
    service: str | None = None,
    run: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int | None, Query(description="Only later ones than this id.")] = None,
) -> list[EventView]:
    """The latest changes, oldest first."""
    with context.store.begin() as tx:
        events = tx.events(service=service, run_id=run, limit=limit, after_id=after)
    return [view_event(event) for event in events]
