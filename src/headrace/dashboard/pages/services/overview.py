"""The first page of a service: status, endpoint, traffic, and how to use it."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import GatewayView, RevisionView, ServiceView
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.operations import services as operations
from headrace.control.operations.finding import find_service
from headrace.control.operations.revisions import status_replicas
from headrace.control.resources import Replica, Revision, RevisionKey
from headrace.dashboard.access.guard import VisitorDep
from headrace.dashboard.live.stream import follow_part, threaded
from headrace.dashboard.pages.services.service_page import render_service_page
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.served_models import ServedModels
from headrace.dashboard.snippets import snippets
from headrace.dashboard.urls import url

router = APIRouter()

_STATE = "services/_state.html"
_UNKNOWN_MODEL = "MODEL"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What the overview shows of a service."""

    service: ServiceView
    revisions: list[RevisionView]
    """The active and terminating ones."""
    needs_key: bool
    main_revision: Revision | None
    """The target with the largest weight."""
    replicas: list[Replica]
    """The live ones."""

    @property
    def gateway(self) -> GatewayView:
        return self.service.gateway


@router.get("/services/{service}")
async def show_service(request: Request, service: str, context: ContextDep) -> Response:
    """Status, endpoint and snippets."""
    state = await run_in_threadpool(_read, context, service)
    endpoint = state.gateway.path_endpoint
    code = None
    if endpoint is not None:
        model = await _model_of(request.app.state.served_models, state)
        code = snippets(endpoint, model, needs_key=state.needs_key)
    return render_service_page(
        request, service, "Overview", "services/overview.html", state=state, snippets=code
    )


@router.get("/services/{service}/live/state")
async def follow_state(request: Request, service: str, context: ContextDep) -> Response:
    """The part with status, traffic and revisions, as events."""
    read = threaded(lambda: {"service": service, "state": _read(context, service)})
    return follow_part(request, _STATE, read)


@router.post("/services/{service}/delete")
def delete_service(service: str, context: ContextDep, visitor: VisitorDep) -> Response:
    """Delete a service. All its revisions must be terminated."""
    replica_ids = operations.delete_service(context.store, service, context.now())
    context.wake()
    context.folders.remove_replicas(replica_ids)
    return redirect_with_notice(visitor, url("services"), f"Deleted service {service}.")


def _read(context: Context, name: str) -> ServiceState:
    with context.store.read() as queries:
        service = find_service(queries, name)
        gateway = queries.gateway(name)
        num_revisions = queries.num_revisions(name)
        needs_key = bool(queries.service_keys(name))
        revisions = queries.revisions(name, live_only=True)
        replicas = status_replicas(queries, name, revisions)
    targets = () if gateway is None else gateway.applied_targets or gateway.targets
    main = max(targets, key=lambda target: target.weight, default=None)
    return ServiceState(
        service=context.responses.service(service, gateway, num_revisions.get(name, 0)),
        revisions=[
            context.responses.revision(one, replicas.get(one.number, [])) for one in revisions
        ],
        needs_key=needs_key,
        main_revision=next(
            (one for one in revisions if main is not None and one.number == main.number), None
        ),
        replicas=[one for several in replicas.values() for one in several if not one.is_gone],
    )


async def _model_of(served_models: ServedModels, state: ServiceState) -> str:
    """As the replicas name it, else as the manifest does."""
    revision = state.main_revision
    if revision is None:
        return _UNKNOWN_MODEL
    spec = read_stored(RevisionSpec, revision.spec)
    replicas = [one for one in state.replicas if one.revision == revision.number]
    key = RevisionKey(revision.service, revision.number)
    names = await served_models.names(key, spec.exposed_port, replicas)
    return names[0] if names else spec.model or _UNKNOWN_MODEL
