"""The list of services; services are created here."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import ServiceView
from headrace.control.operations import services as operations
from headrace.control.resources import ReplicaState
from headrace.core.errors import HeadraceError
from headrace.dashboard.access.guard import VisitorDep
from headrace.dashboard.forms import FormDep
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.rendering import render_live, render_page
from headrace.dashboard.urls import url

router = APIRouter()

_TABLE = "services/_table.html"


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One service in the list."""

    service: ServiceView
    status: str
    num_ready_replicas: int
    num_live_replicas: int


@router.get("/")
def redirect_to_services() -> Response:
    """The first page."""
    return RedirectResponse(url("services"))


@router.get("/services")
def list_services(request: Request, context: ContextDep) -> Response:
    """All services."""
    return _list_page(request, context)


@router.get("/services/live/table")
def refresh_table(request: Request, context: ContextDep) -> Response:
    """The table of services."""
    return render_live(request, _TABLE, url("services", "live", "table"), rows=_rows(context))


@router.post("/services")
def create_service(
    request: Request, context: ContextDep, visitor: VisitorDep, form: FormDep
) -> Response:
    """Create a service."""
    name = form.word("name")
    try:
        operations.create_service(context.store, name, context.now())
    except HeadraceError as error:
        return _list_page(request, context, name=name, error=str(error), status_code=422)
    return redirect_with_notice(visitor, url("services", name), f"Created service {name}.")


def _list_page(
    request: Request, context: Context, *, name: str = "", error: str = "", status_code: int = 200
) -> Response:
    return render_page(
        request,
        "services/list.html",
        status_code=status_code,
        rows=_rows(context),
        name=name,
        error=error,
    )


def _rows(context: Context) -> list[ServiceRow]:
    """With a constant number of queries."""
    with context.store.read() as queries:
        services = queries.services()
        gateways = {gateway.service: gateway for gateway in queries.gateways()}
        num_revisions = queries.num_revisions()
        replicas = queries.replicas(live_only=True)
    num_live: dict[str, int] = {}
    num_ready: dict[str, int] = {}
    for replica in replicas:
        num_live[replica.service] = num_live.get(replica.service, 0) + 1
        if replica.state is ReplicaState.READY:
            num_ready[replica.service] = num_ready.get(replica.service, 0) + 1
    rows = []
    for service in services:
        name = service.name
        view = context.responses.service(service, gateways.get(name), num_revisions.get(name, 0))
        rows.append(
            ServiceRow(
                service=view,
                status=view.gateway.status if view.gateway.enabled else "disabled",
                num_ready_replicas=num_ready.get(name, 0),
                num_live_replicas=num_live.get(name, 0),
            )
        )
    return rows
