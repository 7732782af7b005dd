"""Replicas of a service, and their logs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import ReplicaView
from headrace.control.api.routes import replicas as api
from headrace.control.operations.finding import find_service
from headrace.dashboard.live.stream import follow_part, threaded
from headrace.dashboard.logs import as_download
from headrace.dashboard.pages.services.events import events_of
from headrace.dashboard.pages.services.service_page import render_service_page

router = APIRouter()

_NUM_A_PAGE = 50
_TABLE = "services/_replicas.html"
_TAB = "Replicas"


@router.get("/services/{service}/replicas")
def list_replicas(
    request: Request,
    service: str,
    context: ContextDep,
    before: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """One page of replicas, newest first, gone ones included; the newest are kept current."""
    replicas = _page(context, service, before)
    return render_service_page(
        request, service, _TAB, "services/replicas.html", replicas=replicas, before=before,
        older_than=replicas[-1].replica_id if len(replicas) == _NUM_A_PAGE else None,
    )  # fmt: skip


@router.get("/services/{service}/live/replicas")
async def follow_replicas(request: Request, service: str, context: ContextDep) -> Response:
    """The newest replicas, as events."""
    read = threaded(lambda: {"service": service, "replicas": _page(context, service, None)})
    return follow_part(request, _TABLE, read)


@router.get("/services/{service}/replicas/{replica_id}")
def show_log(request: Request, service: str, replica_id: str, context: ContextDep) -> Response:
    """A replica with its log."""
    replica = _read(context, service, replica_id)
    events = events_of(context, service, f"replica {replica_id}")
    return render_service_page(
        request, service, _TAB, "services/replica.html", replica=replica, events=events
    )


@router.get("/services/{service}/replicas/{replica_id}/log")
def read_log(
    service: str,
    replica_id: str,
    context: ContextDep,
    follow: bool = False,
    lines: Annotated[int | None, Query(ge=0, le=100_000)] = None,
    download: bool = False,
) -> Response:
    """A replica's log as text; with ``follow``, until it has stopped."""
    response = api.read_replica_log(service, replica_id, context, follow=follow, lines=lines)
    return as_download(response, f"{replica_id}.log") if download else response


def _page(context: Context, service: str, before: str | None) -> list[ReplicaView]:
    return api.list_replicas(service, context, limit=_NUM_A_PAGE, before=before)[::-1]


def _read(context: Context, service: str, replica_id: str) -> ReplicaView:
    with context.store.read() as queries:
        find_service(queries, service)
    return api.read_replica(service, replica_id, context)
