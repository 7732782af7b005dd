"""What the pages of keys, secrets and tokens share: their tabs."""

from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse

from headrace.control.errors import ConflictError
from headrace.core.errors import HeadraceError
from headrace.dashboard.access.guard import VisitorDep
from headrace.dashboard.rendering import render_page
from headrace.dashboard.urls import url

_CONFLICT = 409
_INVALID = 422


def render_access_page(
    request: Request,
    visitor: VisitorDep,
    tab: str,
    template: str,
    *,
    error: HeadraceError | None = None,
    **values: Any,
) -> HTMLResponse:
    """A page whose template extends ``access/layout.html``. ``error``: of the submitted form."""
    tabs = {"API keys": url("access", "keys"), "Secrets": url("access", "secrets")}
    if visitor.is_admin:
        tabs["Tokens"] = url("access", "tokens")
    status_code = 200
    if error is not None:
        status_code = _CONFLICT if isinstance(error, ConflictError) else _INVALID
    return render_page(
        request,
        template,
        status_code=status_code,
        tabs=tabs,
        tab=tab,
        error="" if error is None else str(error),
        **values,
    )
