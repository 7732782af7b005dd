"""Requests through the gateway, and their usage."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import RequestTimelineView, RequestView, UsageView
from headrace.control.api.routes.bodies import MAX_INTEGER, Limit
from headrace.control.api.to_response import view_request, view_request_timeline, view_usage
from headrace.control.operations import usage
from headrace.control.operations.finding import find_service
from headrace.control.store.usage_queries import UsageField
from headrace.control.traffic import gateway_requests
from headrace.core.gateway.request_records import STATUS_PATTERN, RequestQuery

router = APIRouter(tags=["requests"])

DEFAULT_DAYS = 30
DEFAULT_FIELDS = (UsageField.SERVICE, UsageField.KEY, UsageField.MODEL)


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


@router.get("/usage")
def read_usage(
    context: ContextDep,
    by: Annotated[
        list[UsageField] | None,
        Query(max_length=4, description="What to group by; by default service, key and model."),
    ] = None,
    since: Annotated[date | None, Query(description="First day; by default 30 days.")] = None,
    until: Annotated[date | None, Query(description="Last day; by default today.")] = None,
    service: Annotated[str | None, Query(description="Only that of this service.")] = None,
    key: Annotated[str | None, Query(description="Name of the API key; empty: none.")] = None,
    model: str | None = None,
    limit: Limit = 1000,
) -> list[UsageView]:
    """Requests, errors and tokens by day, service, API key and model, of up to 90 days. Days are
    those of UTC. With ``day`` the latest come first, else those with most tokens."""
    last = until or context.now().date()
    asked = {UsageField.SERVICE: service, UsageField.KEY: key, UsageField.MODEL: model}
    rows = usage.read_usage(
        context.store,
        by=list(dict.fromkeys(by or DEFAULT_FIELDS)),
        first=since or usage.first_day(last, DEFAULT_DAYS),
        last=last,
        only={name: value for name, value in asked.items() if value is not None},
        limit=limit,
    )
    return [view_usage(row) for row in rows]


def _check_service(context: Context, service: str) -> None:
    with context.store.read() as queries:
        find_service(queries, service)
