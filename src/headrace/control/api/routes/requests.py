"""Requests through the gateway."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import RequestTimelineView, RequestView
from headrace.control.api.routes.bodies import MAX_INTEGER, Limit
from headrace.control.api.to_response import view_request, view_request_timeline
from headrace.control.operations.finding import find_service
from headrace.control.traffic import gateway_requests
from headrace.core.gateway.request_records import STATUS_PATTERN, RequestQuery

router = APIRouter(tags=["requests"])


@router.get("/requests")
async def list_requests(
    context: ContextDep,
    service: Annotated[str | None, Query(description="Only those of this service.")] = None,
    revision: Annotated[int | None, Query(ge=1, le=MAX_INTEGER)] = None,
    key: Annotated[str | None, Query(description="Name of the API key.")] = None,
    status: Annotated[
        str | None, Query(pattern=STATUS_PATTERN, description="``404``, or ``4xx``.")
    ] = None,
    min_duration_s: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0,
    limit: Limit = 100,
    before: Annotated[
        str | None, Query(description="Record id of a request: only those that ended before it.")
    ] = None,
) -> list[RequestView]:
    """The newest requests that have ended, oldest first, without their text. The gateway stores the
    last 1,000, and none across a restart."""
    if service is not None:
        await run_in_threadpool(_check_service, context, service)
    query = RequestQuery(
        service=service,
        revision=revision,
        key=key,
        status=status,
        min_duration_s=min_duration_s,
        before=before,
        limit=limit,
    )
    records = await gateway_requests.list_requests(context.gateway_admin_url, query)
    return [view_request(record) for record in records]


@router.get("/requests/{record_id}")
async def read_request(record_id: str, context: ContextDep) -> RequestTimelineView:
    """One request, with its timeline."""
    record = await gateway_requests.read_request(context.gateway_admin_url, record_id)
    return view_request_timeline(record)


def _check_service(context: Context, service: str) -> None:
    with context.store.read() as queries:
        find_service(queries, service)
