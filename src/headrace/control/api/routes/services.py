"""Services, and their metrics over time."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import HistoryView, ServiceView
from headrace.control.api.routes.bodies import MAX_INTEGER, NamedBody
from headrace.control.api.to_response import view_history
from headrace.control.history.series import Period
from headrace.control.operations import services as operations
from headrace.control.operations.finding import find_service
from headrace.control.operations.history import read_history

router = APIRouter(tags=["services"])


@router.get("/services")
def list_services(context: ContextDep) -> list[ServiceView]:
    """All services."""
    with context.store.read() as queries:
        services = queries.services()
        gateways = {gateway.service: gateway for gateway in queries.gateways()}
        num_revisions = queries.num_revisions()
    return [
        context.responses.service(
            service, gateways.get(service.name), num_revisions.get(service.name, 0)
        )
        for service in services
    ]


@router.post("/services", status_code=201)
def create_service(body: NamedBody, context: ContextDep) -> ServiceView:
    """Create a service."""
    service = operations.create_service(context.store, body.name, context.now())
    return _view(context, service.name)


@router.get("/services/{service}")
def read_service(service: str, context: ContextDep) -> ServiceView:
    """One service and its gateway."""
    return _view(context, service)


@router.delete("/services/{service}", status_code=204)
def delete_service(service: str, context: ContextDep) -> None:
    """Delete a service. All its revisions must be terminated."""
    replica_ids = operations.delete_service(context.store, service, context.now())
    context.wake()
    context.folders.remove_replicas(replica_ids)


@router.get("/services/{service}/history")
def read_service_history(
    service: str,
    context: ContextDep,
    period: Annotated[Period, Query(description="How much of it.")] = Period.HOUR,
    end: Annotated[
        int | None,
        Query(ge=0, le=MAX_INTEGER, description="Unix time of the period's end (default: now)."),
    ] = None,
    revision: Annotated[
        int | None, Query(ge=1, le=MAX_INTEGER, description="Only this revision.")
    ] = None,
) -> HistoryView:
    """Metrics of a service's revisions: 15 s steps for a day, longer ones for 30 days."""
    ends_at = context.now() if end is None else datetime.fromtimestamp(end, UTC)
    return view_history(read_history(context.store, service, period, ends_at, revision))


def _view(context: Context, name: str) -> ServiceView:
    with context.store.read() as queries:
        service = find_service(queries, name)
        gateway, num_revisions = queries.gateway(name), queries.num_revisions(name)
    return context.responses.service(service, gateway, num_revisions.get(name, 0))
