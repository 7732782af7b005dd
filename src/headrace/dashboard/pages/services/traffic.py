"""The traffic split of a service: edited as shares or as the gateway's manifest."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.routes.gateways import settled_gateway
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.parsing.problems import ManifestError, Problem
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.operations import gateways as operations
from headrace.control.operations.finding import find_service
from headrace.control.resources import Gateway, Revision, RevisionPhase, Target
from headrace.dashboard.access.guard import VisitorDep
from headrace.dashboard.forms import Form, FormDep
from headrace.dashboard.manifest_text import to_yaml
from headrace.dashboard.pages.services.service_page import render_service_page
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.rendering import renderer_of
from headrace.dashboard.urls import url

router = APIRouter()

FILE = "gateway.yaml"
"""Names the form's text in errors and events."""

_FIELD = re.compile(r"weight-([0-9]{1,6})-([0-9]{1,5})\Z")
_TAB = "Traffic"


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One possible target, and its share in the form."""

    number: int
    port: int
    message: str
    weight: str

    @property
    def field(self) -> str:
        """The name of its field."""
        return f"weight-{self.number}-{self.port}"


@dataclass(frozen=True, slots=True)
class Preview:
    """What a manifest would do."""

    manifest: str
    targets: Sequence[Target]
    """Empty if there are problems."""
    problems: Sequence[Problem]


@router.get("/services/{service}/traffic")
def show_traffic(request: Request, service: str, context: ContextDep) -> Response:
    """The editor with the requested split."""
    return _editor(request, context, service)


@router.post("/services/{service}/traffic/preview")
def preview_traffic(request: Request, service: str, context: ContextDep, form: FormDep) -> Response:
    """What the form's split would do; nothing is changed."""
    gateway = operations.read_gateway(context.store, service)
    preview = _preview(context, service, _manifest_of(form, gateway))
    return renderer_of(request).fragment(request, "services/_traffic_preview.html", preview=preview)


@router.post("/services/{service}/traffic")
async def update_traffic(
    request: Request, service: str, context: ContextDep, visitor: VisitorDep, form: FormDep
) -> Response:
    """Replace the split. Traffic moves once the targets are ready."""

    def update() -> Preview | None:
        manifest = form.text("manifest")
        if not manifest:
            manifest = _manifest_of(form, operations.read_gateway(context.store, service))
        try:
            operations.update_gateway(context.store, service, manifest, FILE, context.now())
        except ManifestError as error:
            return Preview(manifest, (), error.problems)
        return None

    refused = await run_in_threadpool(update)
    if refused is not None:
        return await run_in_threadpool(_editor, request, context, service, refused, form)
    context.wake()
    gateway = await settled_gateway(context, service)
    notice = f"Traffic: {gateway.status}. {gateway.message}".strip()
    return redirect_with_notice(visitor, url("services", service), notice)


def _editor(
    request: Request,
    context: Context,
    service: str,
    refused: Preview | None = None,
    form: Form | None = None,
) -> Response:
    """``refused``: the last attempt, with the form as it was sent."""
    with context.store.read() as queries:
        find_service(queries, service)
        gateway = queries.gateway(service)
        revisions = queries.revisions(service, live_only=True)
    is_form = form is not None and not form.text("manifest")
    rows = _rows(revisions, gateway, form if is_form else None)
    manifest = _manifest(gateway) if gateway is not None else _manifest_of(None, None, rows)
    return render_service_page(
        request,
        service,
        _TAB,
        "services/traffic.html",
        status_code=200 if refused is None else 422,
        rows=rows,
        is_enabled=gateway is None or gateway.is_enabled if not is_form else _is_enabled(form),
        preview=refused or _preview(context, service, manifest),
        is_refused=refused is not None,
        status=None if gateway is None else gateway.status,
    )


def _rows(
    revisions: Sequence[Revision], gateway: Gateway | None, form: Form | None
) -> list[TargetRow]:
    """All HTTP ports of the active revisions that are targets, or exposed."""
    targets = () if gateway is None else gateway.targets
    weights = {(target.number, target.port): str(target.weight) for target in targets}
    rows = []
    for revision in revisions:
        if revision.phase is not RevisionPhase.ACTIVE:
            continue
        spec = read_stored(RevisionSpec, revision.spec)
        for port in spec.ports:
            key = (revision.number, port.port)
            if port.type != "http" or (port.port != spec.exposed_port and key not in weights):
                continue
            row = TargetRow(*key, spec.message, weights.get(key, "0"))
            rows.append(row if form is None else replace(row, weight=form.word(row.field)))
    if gateway is None and form is None and rows:
        rows[-1] = replace(rows[-1], weight="100")  # the newest revision
    return rows


def _manifest_of(form: Form | None, gateway: Gateway | None, rows: Sequence[TargetRow] = ()) -> str:
    """The form's split as a manifest, with the gateway's other settings. Targets without a share
    are left out."""
    written = {row.field: row.weight for row in rows}
    if form is not None:
        written = {name: form.word(name) for name in form.names()}
    targets: list[dict[str, Any]] = []
    for name, weight in written.items():
        match = _FIELD.match(name)
        if match is None or weight in ("", "0"):
            continue
        number, port = int(match[1]), int(match[2])
        value = int(weight) if weight.isascii() and weight.isdigit() else weight
        targets.append({"number": number, "port": port, "weight": value})
    manifest: dict[str, Any] = {} if gateway is None else operations.gateway_manifest(gateway)
    manifest["enabled"] = form is None or _is_enabled(form)
    return _yaml({**manifest, "targets": targets})


def _manifest(gateway: Gateway) -> str:
    return _yaml(operations.gateway_manifest(gateway))


def _yaml(manifest: Mapping[str, Any]) -> str:
    first = {key: manifest[key] for key in ("enabled", "targets") if key in manifest}
    return to_yaml({**first, **manifest})


def _is_enabled(form: Form | None) -> bool:
    return form is not None and form.text("enabled") == "on"


def _preview(context: Context, service: str, manifest: str) -> Preview:
    try:
        targets = operations.check_gateway(context.store, service, manifest, FILE)
    except ManifestError as error:
        return Preview(manifest, (), error.problems)
    return Preview(manifest, targets, ())
