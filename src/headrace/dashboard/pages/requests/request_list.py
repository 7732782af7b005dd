"""The last requests through the gateway, newest first, without their text."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import RequestView
from headrace.control.api.routes import requests as api
from headrace.control.errors import GatewayUnavailableError
from headrace.dashboard.live.part import Values
from headrace.dashboard.live.stream import follow_part
from headrace.dashboard.pages.requests.filters import STATUSES, FiltersDep, RequestFilters
from headrace.dashboard.rendering import render_page
from headrace.dashboard.urls import url

router = APIRouter()

_NUM_A_PAGE = 100
_TABLE = "requests/_table.html"
_INTERVAL_S = 3.0
"""Long enough to read a line under load."""


@dataclass(frozen=True, slots=True)
class RequestPage:
    """One page of requests, newest first."""

    requests: list[RequestView]
    error: str = ""
    """Why they cannot be read."""

    @property
    def older_than(self) -> str | None:
        """With which the next page begins; None if this is the last one."""
        return self.requests[-1].record_id if len(self.requests) == _NUM_A_PAGE else None


@router.get("/requests")
async def list_requests(
    request: Request,
    context: ContextDep,
    filters: FiltersDep,
    before: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """One page of requests; the newest are kept current."""
    page = await _page(context, filters, before)
    given = filters.parameters()
    older = url("requests", **given, before=page.older_than) if page.older_than else ""
    return render_page(
        request,
        "requests/list.html",
        page=page,
        filters=filters,
        services=await run_in_threadpool(_services, context),
        statuses=STATUSES,
        before=before,
        table_address=url("requests", "live", "table", **given),
        older=older,
        newest=url("requests", **given) if before else "",
    )


@router.get("/requests/live/table")
async def follow_table(request: Request, context: ContextDep, filters: FiltersDep) -> Response:
    """The newest requests, as events."""

    async def read() -> Values:
        return {"page": await _page(context, filters, None)}

    return follow_part(request, _TABLE, read, interval_s=_INTERVAL_S)


async def _page(context: Context, filters: RequestFilters, before: str | None) -> RequestPage:
    try:
        found = await api.list_requests(
            context,
            service=filters.service,
            revision=filters.revision,
            key=filters.key,
            status=filters.status,
            min_duration_s=filters.min_duration_s,
            limit=_NUM_A_PAGE,
            before=before,
        )
    except GatewayUnavailableError as error:
        return RequestPage([], str(error))
    return RequestPage(found[::-1])


def _services(context: Context) -> list[str]:
    with context.store.read() as queries:
        return [service.name for service in queries.services()]
