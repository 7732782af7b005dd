"""The list of services; services are created here."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import ServiceView
from headrace.control.operations import services as operations
from headrace.control.resources import Replica, ReplicaState, RevisionKey
from headrace.core.errors import HeadraceError
from headrace.dashboard.access.guard import VisitorDep
from headrace.dashboard.forms import FormDep
from headrace.dashboard.live.stream import follow_part, threaded
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.rendering import render_page
from headrace.dashboard.urls import url

router = APIRouter()

_TABLE = "services/_table.html"


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    """The load of a service in the last 15 s. None: unknown, or undefined without traffic."""

    requests_per_s: float | None
    errors_per_s: float | None
    ttft_p95_s: float | None
    """The highest of its revisions."""


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One service in the list."""

    service: ServiceView
    status: str
    num_ready_replicas: int
    num_live_replicas: int
    load: ServiceLoad


@router.get("/")
def redirect_to_services() -> Response:
    """The first page."""
    return RedirectResponse(url("services"))


@router.get("/services")
def list_services(request: Request, context: ContextDep) -> Response:
    """All services."""
    return _list_page(request, context)


@router.get("/services/live/table")
async def follow_table(request: Request, context: ContextDep) -> Response:
    """The table of services, as events."""
    return follow_part(request, _TABLE, threaded(lambda: {"rows": _rows(context)}))


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
    live: dict[str, list[Replica]] = defaultdict(list)
    for replica in replicas:
        live[replica.service].append(replica)
    rows = []
    for service in services:
        name = service.name
        gateway = gateways.get(name)
        view = context.responses.service(service, gateway, num_revisions.get(name, 0))
        numbers = {replica.revision for replica in live[name]}
        if gateway is not None:
            numbers |= {target.number for target in gateway.applied_targets}
        rows.append(
            ServiceRow(
                service=view,
                status=view.gateway.status if view.gateway.enabled else "disabled",
                num_ready_replicas=sum(one.state is ReplicaState.READY for one in live[name]),
                num_live_replicas=len(live[name]),
                load=_load(context, name, numbers),
            )
        )
    return rows


def _load(context: Context, service: str, numbers: Iterable[int]) -> ServiceLoad:
    """Of these revisions together."""
    samples = [context.current.revision(RevisionKey(service, number)) for number in numbers]
    requests = [one.requests_per_s for one in samples if one.requests_per_s is not None]
    errors = [one.errors_per_s for one in samples if one.errors_per_s is not None]
    return ServiceLoad(
        requests_per_s=sum(requests) if requests else None,
        errors_per_s=sum(errors) if errors else None,
        ttft_p95_s=max(
            (one.ttft_p95_s for one in samples if one.ttft_p95_s is not None), default=None
        ),
    )
