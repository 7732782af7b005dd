"""API keys of services: created, shown once, revoked."""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.to_response import view_key
from headrace.control.operations import keys as operations
from headrace.core.errors import HeadraceError
from headrace.dashboard.access.guard import Visitor, VisitorDep
from headrace.dashboard.forms import FormDep
from headrace.dashboard.pages.access.access_page import render_access_page
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.urls import url

router = APIRouter()


@router.get("/access")
def redirect_to_keys() -> Response:
    """The first of these pages."""
    return RedirectResponse(url("access", "keys"))


@router.get("/access/keys")
def list_keys(request: Request, context: ContextDep, visitor: VisitorDep) -> Response:
    """The keys of all services, without their secrets."""
    return _page(request, context, visitor)


@router.post("/access/keys")
def create_key(
    request: Request, context: ContextDep, visitor: VisitorDep, form: FormDep
) -> Response:
    """Create a key; its secret is only in this response."""
    service, name = form.word("service"), form.word("name")
    try:
        created = operations.create_key(context.store, service, name, context.now())
    except HeadraceError as error:
        return _page(request, context, visitor, service=service, name=name, error=error)
    context.wake()
    return _page(request, context, visitor, service=service, secret=created.secret, created=name)


@router.post("/access/keys/{service}/{name}/revoke")
def revoke_key(service: str, name: str, context: ContextDep, visitor: VisitorDep) -> Response:
    """Revoke a key."""
    operations.remove_key(context.store, service, name, context.now())
    context.wake()
    return redirect_with_notice(
        visitor, url("access", "keys"), f"Revoked key {name} of service {service}."
    )


def _page(
    request: Request,
    context: Context,
    visitor: Visitor,
    *,
    service: str = "",
    name: str = "",
    created: str = "",
    secret: str = "",
    error: HeadraceError | None = None,
) -> Response:
    with context.store.read() as queries:
        services = [one.name for one in queries.services()]
        keys = queries.service_keys()
    return render_access_page(
        request, visitor, "API keys", "access/keys.html", error=error, services=services,
        keys=[view_key(key) for key in keys], service=service, name=name, created=created,
        secret=secret,
    )  # fmt: skip
