"""A chat with a service's model through the gateway."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.operations.finding import find_service
from headrace.control.operations.keys import dashboard_key
from headrace.control.resources import Gateway, Replica, Revision
from headrace.core.errors import HeadraceError
from headrace.dashboard.access.guard import administrators_only
from headrace.dashboard.forwarded_response import ForwardedResponse
from headrace.dashboard.rendering import render_page
from headrace.dashboard.served_models import ServedModels
from headrace.dashboard.snippets import KEY_VARIABLE

router = APIRouter(dependencies=[Depends(administrators_only)])

_JSON = "application/json"
_UNSUPPORTED_MEDIA_TYPE = 415


@dataclass(frozen=True, slots=True)
class ChatTarget:
    """A service that accepts requests."""

    service: str
    endpoint: str
    needs_key: bool
    revisions: Sequence[Revision]
    """Its targets, the one with the largest weight first."""
    replicas: Sequence[Replica]

    @property
    def key_variable(self) -> str:
        """The variable of the key in the curl command; empty if none is needed."""
        return KEY_VARIABLE if self.needs_key else ""


@router.get("/playground")
async def show_playground(
    request: Request,
    context: ContextDep,
    service: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """The page; without ``service`` of the first one that accepts requests."""
    names = await run_in_threadpool(_usable, context)
    chosen = service or next(iter(names), None)
    if chosen is None:
        return render_page(request, "playground/none.html")
    target = await run_in_threadpool(_read, context, chosen)
    models = [] if target is None else await _models(request.app.state.served_models, target)
    return render_page(
        request, "playground/playground.html", service=chosen, services=names, target=target,
        models=models,
    )  # fmt: skip


@router.post("/playground/{service}/chat")
async def chat(request: Request, service: str, context: ContextDep) -> Response:
    """Forward a chat completion to the service; its response is streamed."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise HTTPException(_UNSUPPORTED_MEDIA_TYPE, f"The content type must be {_JSON}.")
    target = await run_in_threadpool(_read, context, service)
    if target is None:
        raise HTTPException(409, f"Service '{service}' does not accept requests.")
    headers = {"Content-Type": _JSON, "User-Agent": "headrace-dashboard"}
    if target.needs_key:
        headers["Authorization"] = f"Bearer {dashboard_key(context.vault, service).secret}"
    body = await request.body()
    return ForwardedResponse(f"{target.endpoint}/v1/chat/completions", body, headers)


def _usable(context: Context) -> list[str]:
    """The services that accept requests, by name."""
    with context.store.read() as queries:
        return [one.service for one in queries.gateways() if one.is_enabled]


def _read(context: Context, service: str) -> ChatTarget | None:
    """None: it does not accept requests. Raises NotFoundError."""
    with context.store.read() as queries:
        find_service(queries, service)
        gateway = queries.gateway(service)
        needs_key = bool(queries.service_keys(service))
        numbers = _numbers(gateway)
        revisions = queries.revisions(service, numbers=numbers)
        replicas = queries.replicas(service, live_only=True)
    endpoint = context.responses.gateway(service, gateway).path_endpoint
    if endpoint is None:
        return None
    revisions.sort(key=lambda one: numbers.index(one.number))
    return ChatTarget(service, endpoint, needs_key, revisions, replicas)


def _numbers(gateway: Gateway | None) -> list[int]:
    """Of the revisions that get traffic, the largest weight first."""
    targets = () if gateway is None else gateway.applied_targets or gateway.targets
    return [one.number for one in sorted(targets, key=lambda one: -one.weight)]


async def _models(served_models: ServedModels, target: ChatTarget) -> list[str]:
    """The names that its revisions accept, without duplicates."""
    found: list[str] = []
    for revision in target.revisions:
        try:
            spec = read_stored(RevisionSpec, revision.spec)
        except HeadraceError:  # written by another version of Headrace
            continue
        replicas = [one for one in target.replicas if one.revision == revision.number]
        names = await served_models.names(revision.key, spec.exposed_port, replicas)
        found += names or ([spec.model] if spec.model else [])
    return list(dict.fromkeys(found))
