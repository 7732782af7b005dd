"""Revisions of a service: listed, read, created from a manifest, terminated."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import RevisionView
from headrace.control.api.routes.bodies import MAX_INTEGER
from headrace.control.manifests.parsing.problems import ManifestError, Problem
from headrace.control.operations import revisions as operations
from headrace.control.operations.finding import find_revision, find_service
from headrace.control.resources import Revision
from headrace.control.store.queries import Queries
from headrace.dashboard.access.guard import VisitorDep
from headrace.dashboard.forms import FormDep
from headrace.dashboard.live.stream import follow_part, threaded
from headrace.dashboard.manifest_text import spec_yaml
from headrace.dashboard.pages.services.events import events_of
from headrace.dashboard.pages.services.service_page import render_service_page
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.urls import url

router = APIRouter()
Number = Annotated[int, Path(ge=1, le=MAX_INTEGER)]

FILE = "revision.yaml"
"""Names the form's text in errors and events."""
EXAMPLE = """\
message: SmolLM2 on this machine
model: smollm2-135m
args: --max-model-len 2048
autoscaling: {min: 1, max: 2, metric: concurrency, target: 8}
"""

_NUM_A_PAGE = 50
_TABLE = "services/_revisions.html"
_REVISION = "services/_revision.html"
_TAB = "Revisions"


@router.get("/services/{service}/revisions")
def list_revisions(
    request: Request,
    service: str,
    context: ContextDep,
    before: Annotated[int | None, Query(ge=1, le=MAX_INTEGER)] = None,
) -> Response:
    """One page of revisions, newest first; the newest are kept current."""
    revisions = _page(context, service, before)
    oldest = revisions[-1].number if revisions else 1
    return render_service_page(
        request, service, _TAB, "services/revisions.html", revisions=revisions, before=before,
        older_than=oldest if oldest > 1 and len(revisions) == _NUM_A_PAGE else None,
    )  # fmt: skip


@router.get("/services/{service}/live/revisions")
async def follow_revisions(request: Request, service: str, context: ContextDep) -> Response:
    """The newest revisions, as events."""
    read = threaded(lambda: {"service": service, "revisions": _page(context, service, None)})
    return follow_part(request, _TABLE, read)


@router.get("/services/{service}/revisions/new")
def show_form(request: Request, service: str, context: ContextDep) -> Response:
    """The form for a new revision."""
    with context.store.read() as queries:
        find_service(queries, service)
    return _form(request, service, EXAMPLE)


@router.post("/services/{service}/revisions")
def create_revision(
    request: Request, service: str, context: ContextDep, visitor: VisitorDep, form: FormDep
) -> Response:
    """Create a revision, or only check its manifest."""
    text = form.text("manifest")
    try:
        if form.text("action") == "check":
            operations.check_revision(context.store, service, text, FILE)
            return _form(request, service, text, is_valid=True)
        revision = operations.create_revision(context.store, service, text, FILE, context.now())
    except ManifestError as error:
        return _form(request, service, text, problems=error.problems)
    context.wake()
    return redirect_with_notice(
        visitor,
        url("services", service, "revisions", revision.number),
        f"Created revision {revision.number}.",
    )


@router.get("/services/{service}/revisions/{number}")
def show_revision(request: Request, service: str, number: Number, context: ContextDep) -> Response:
    """One revision, its replicas and the newest one's log."""
    revision = _read(context, service, number)
    with context.store.read() as queries:
        newest = queries.replicas(service, number, limit=1)
    spec = spec_yaml(revision.spec)
    return render_service_page(
        request, service, _TAB, "services/revision.html", revision=revision, manifest=spec,
        log_replica=newest[0] if newest else None,
        events=events_of(context, service, f"revision {service}/{number}"),
    )  # fmt: skip


@router.get("/services/{service}/revisions/{number}/live")
async def follow_revision(
    request: Request, service: str, number: Number, context: ContextDep
) -> Response:
    """The state of one revision, as events."""
    read = threaded(lambda: {"service": service, "revision": _read(context, service, number)})
    return follow_part(request, _REVISION, read)


@router.post("/services/{service}/revisions/{number}/terminate")
def terminate_revision(
    service: str, number: Number, context: ContextDep, visitor: VisitorDep
) -> Response:
    """Terminate a revision permanently, after its open requests have finished."""
    terminated = operations.terminate_revision(context.store, service, number, context.now())
    context.wake()
    return redirect_with_notice(
        visitor,
        url("services", service, "revisions", number),
        f"Terminating revision {number}. {terminated.note}".strip(),
    )


def _form(
    request: Request,
    service: str,
    text: str,
    *,
    problems: tuple[Problem, ...] = (),
    is_valid: bool = False,
) -> Response:
    return render_service_page(
        request, service, _TAB, "services/new_revision.html", manifest=text, problems=problems,
        is_valid=is_valid, status_code=422 if problems else 200,
    )  # fmt: skip


def _page(context: Context, service: str, before: int | None) -> list[RevisionView]:
    """Newest first, with a constant number of queries."""
    with context.store.read() as queries:
        find_service(queries, service)
        revisions = queries.revisions(service, limit=_NUM_A_PAGE, before=before)
        views = _views(context, queries, service, revisions)
    return views[::-1]


def _read(context: Context, service: str, number: int) -> RevisionView:
    with context.store.read() as queries:
        revision = find_revision(queries, service, number)
        return _views(context, queries, service, [revision])[0]


def _views(
    context: Context, queries: Queries, service: str, revisions: Iterable[Revision]
) -> list[RevisionView]:
    replicas = operations.status_replicas(queries, service, revisions)
    return [context.responses.revision(one, replicas.get(one.number, [])) for one in revisions]
