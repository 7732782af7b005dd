"""Secrets: created, replaced, listed by name, deleted; a value is never shown."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.operations import secrets as operations
from headrace.core.errors import HeadraceError
from headrace.dashboard.access.guard import Visitor, VisitorDep
from headrace.dashboard.forms import FormDep
from headrace.dashboard.pages.access.access_page import render_access_page
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.urls import url

router = APIRouter()


@router.get("/access/secrets")
def list_secrets(request: Request, context: ContextDep, visitor: VisitorDep) -> Response:
    """The names of all secrets."""
    return _page(request, context, visitor)


@router.post("/access/secrets")
def put_secret(
    request: Request, context: ContextDep, visitor: VisitorDep, form: FormDep
) -> Response:
    """Create or replace a secret."""
    name = form.word("name")
    try:
        operations.put_secret(context.store, context.vault, name, form.text("value"), context.now())
    except HeadraceError as error:
        return _page(request, context, visitor, name=name, error=error)
    return redirect_with_notice(visitor, url("access", "secrets"), f"Stored secret {name}.")


@router.post("/access/secrets/{name}/delete")
def delete_secret(name: str, context: ContextDep, visitor: VisitorDep) -> Response:
    """Delete a secret that no revision and no run uses."""
    operations.remove_secret(context.store, name, context.now())
    return redirect_with_notice(visitor, url("access", "secrets"), f"Deleted secret {name}.")


def _page(
    request: Request,
    context: Context,
    visitor: Visitor,
    *,
    name: str = "",
    error: HeadraceError | None = None,
) -> Response:
    return render_access_page(
        request, visitor, "Secrets", "access/secrets.html", error=error, name=name,
        names=operations.list_secrets(context.store),
    )  # fmt: skip
