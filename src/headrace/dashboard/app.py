"""The dashboard as an ASGI application, which the control plane's app serves below `ROOT`."""

from pathlib import Path

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from headrace.control.api.context import Context
from headrace.control.devices.machine import MachineReader
from headrace.control.errors import (
    ConflictError,
    GatewayUnavailableError,
    InvalidNameError,
    NotFoundError,
    StoreError,
)
from headrace.control.store.columns import storable
from headrace.core.errors import HeadraceError
from headrace.dashboard.access import links
from headrace.dashboard.access.attempts import SignInAttempts
from headrace.dashboard.access.guard import NotSignedInError, authorize, refuse_cross_site
from headrace.dashboard.access.security_headers import SecurityHeaders
from headrace.dashboard.access.sessions import Sessions
from headrace.dashboard.live.stream import LiveParts, signed_out_event
from headrace.dashboard.pages import machine, playground, sign_in, usage
from headrace.dashboard.pages.access import keys, secrets, tokens
from headrace.dashboard.pages.requests import request, request_list
from headrace.dashboard.pages.runs import run, run_artifacts, run_list
from headrace.dashboard.pages.services import (
    events,
    listing,
    metrics,
    overview,
    replicas,
    revisions,
    traffic,
)
from headrace.dashboard.rendering import NavigationEntry, Renderer, render_page
from headrace.dashboard.served_models import ServedModels
from headrace.dashboard.urls import ROOT, url

ROUTERS = (
    listing.router,
    overview.router,
    metrics.router,
    revisions.router,
    replicas.router,
    traffic.router,
    events.router,
    run_list.router,
    run.router,
    run_artifacts.router,
    playground.router,
    request_list.router,
    request.router,
    keys.router,
    secrets.router,
    tokens.router,
    usage.router,
    machine.router,
)
"""Of all pages that need a session."""

NAVIGATION = (
    NavigationEntry("Services", url("services")),
    NavigationEntry("Runs", url("runs")),
    NavigationEntry("Requests", url("requests")),
    NavigationEntry("Usage", url("usage")),
    NavigationEntry("Playground", url("playground"), administrators_only=True),
    NavigationEntry("Access", url("access")),
    NavigationEntry("Machine", url("machine")),
)

_STATUSES: dict[type[HeadraceError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    InvalidNameError: 422,
    StoreError: 503,
    GatewayUnavailableError: 503,
}
"""Other errors of Headrace are 400."""

_TITLES = {
    400: "Bad request",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    422: "Invalid request",
    503: "Unavailable",
}
_SEE_OTHER = 303
_UNAUTHORIZED = 401


def add_dashboard(app: FastAPI, context: Context) -> None:
    """Serve the dashboard in the control plane's app; its root leads there."""
    sessions = Sessions()
    app.state.sessions = sessions
    app.include_router(links.router, prefix="/v1")
    app.mount(ROOT, build_dashboard(context, sessions), name="dashboard")
    app.add_route("/", _redirect_to_dashboard, include_in_schema=False)


def build_dashboard(context: Context, sessions: Sessions) -> FastAPI:
    """The application. All pages but sign-in require a session."""
    app = FastAPI(
        title="Headrace dashboard",
        openapi_url=None,
        dependencies=[Depends(refuse_cross_site)],
    )
    app.state.context = context
    app.state.sessions = sessions
    app.state.attempts = SignInAttempts()
    app.state.renderer = Renderer(NAVIGATION)
    app.state.live_parts = LiveParts()
    app.state.served_models = ServedModels()
    app.state.machine = MachineReader(context.layout)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.include_router(sign_in.router)
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(authorize)])
    app.add_exception_handler(NotSignedInError, _on_not_signed_in)
    app.add_exception_handler(HeadraceError, _on_known_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_surprise)
    app.add_middleware(SecurityHeaders)
    return app


async def _redirect_to_dashboard(request: Request) -> Response:
    return RedirectResponse(url())


def _on_not_signed_in(request: Request, error: Exception) -> Response:
    """To the sign-in page, and from there back to the page; htmx and live parts go there as a whole
    page."""
    if "text/event-stream" in request.headers.get("accept", ""):
        return signed_out_event()
    if request.headers.get("hx-request"):
        return Response(status_code=_UNAUTHORIZED, headers={"HX-Redirect": url("sign-in")})
    is_page = request.method == "GET"
    address = f"{request.url.path}?{request.url.query}".rstrip("?") if is_page else None
    return RedirectResponse(url("sign-in", next=address), _SEE_OTHER)


def _on_known_error(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), 400)
    return _error_page(request, status, str(error))


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error_page(request, error.status_code, str(error.detail))


def _on_invalid(request: Request, error: Exception) -> Response:
    return _error_page(request, 422, "The address or a field of the form is invalid.")


def _on_surprise(request: Request, error: Exception) -> Response:
    return _error_page(request, 500, "Internal error of the control plane. See its log.")


def _error_page(request: Request, status: int, message: str) -> Response:
    return render_page(
        request,
        "error.html",
        status_code=status,
        title=_TITLES.get(status, "Error"),
        message=storable(message),
    )
