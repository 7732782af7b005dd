"""Tokens of the control plane's API, for administrators: created, shown once, revoked."""

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.to_response import view_token
from headrace.control.operations import tokens as operations
from headrace.control.resources import Role
from headrace.core.errors import HeadraceError
from headrace.dashboard.access.guard import Visitor, VisitorDep, administrators_only
from headrace.dashboard.forms import FormDep
from headrace.dashboard.pages.access.access_page import render_access_page
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.urls import url

router = APIRouter(dependencies=[Depends(administrators_only)])


@router.get("/access/tokens")
def list_tokens(request: Request, context: ContextDep, visitor: VisitorDep) -> Response:
    """All tokens, without their secrets."""
    return _page(request, context, visitor)


@router.post("/access/tokens")
def create_token(
    request: Request, context: ContextDep, visitor: VisitorDep, form: FormDep
) -> Response:
    """Create a token; its secret is only in this response."""
    name = form.word("name")
    try:
        role = Role(form.word("role"))
    except ValueError:
        raise HTTPException(422, "The role must be viewer or admin.") from None
    try:
        created = operations.create_token(context.store, name, role, context.now())
    except HeadraceError as error:
        return _page(request, context, visitor, name=name, role=role, error=error)
    return _page(request, context, visitor, secret=created.secret, created=name)


@router.post("/access/tokens/{name}/revoke")
def revoke_token(name: str, context: ContextDep, visitor: VisitorDep) -> Response:
    """Revoke a token; its sessions end."""
    operations.remove_token(context.store, name, context.now())
    return redirect_with_notice(visitor, url("access", "tokens"), f"Revoked token {name}.")


def _page(
    request: Request,
    context: Context,
    visitor: Visitor,
    *,
    name: str = "",
    role: Role = Role.VIEWER,
    created: str = "",
    secret: str = "",
    error: HeadraceError | None = None,
) -> Response:
    tokens = [view_token(token) for token in operations.list_tokens(context.store)]
    return render_access_page(
        request, visitor, "Tokens", "access/tokens.html", error=error, name=name, role=role,
        tokens=tokens, created=created, secret=secret,
    )  # fmt: skip
