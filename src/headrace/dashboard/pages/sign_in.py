"""Sign-in with a token or a one-time link, and sign-out."""

import math

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from headrace.control.api.context import ContextDep
from headrace.control.operations.tokens import find_token, hash_token
from headrace.dashboard.access.attempts import SignInAttempts
from headrace.dashboard.access.guard import (
    check_csrf,
    delete_session_cookie,
    session_cookie,
    sessions_of,
    set_session_cookie,
)
from headrace.dashboard.forms import FormDep
from headrace.dashboard.rendering import render_page
from headrace.dashboard.urls import is_local, url

router = APIRouter()

_SEE_OTHER = 303
_UNAUTHORIZED = 401
_TOO_MANY_REQUESTS = 429


@router.get("/sign-in")
def show_sign_in(request: Request, next: str = "") -> Response:
    """The form."""
    return _form(request, next)


@router.post("/sign-in")
def sign_in(request: Request, form: FormDep, context: ContextDep) -> Response:
    """Start a session of the token in the form."""
    address = form.text("next")
    attempts: SignInAttempts = request.app.state.attempts
    client = request.client.host if request.client is not None else ""
    wait_s = attempts.wait_s(client)
    if wait_s > 0:
        seconds = math.ceil(wait_s)
        response = _form(
            request,
            address,
            f"Too many failed attempts. Try again in {seconds} seconds, or run: headrace dashboard",
            _TOO_MANY_REQUESTS,
        )
        response.headers["Retry-After"] = str(seconds)
        return response
    secret = form.word("token")
    token = find_token(context.store, secret) if secret else None
    if token is None:
        attempts.note_failure(client)
        return _form(
            request,
            address,
            "This token is not valid. Create one with: headrace token create NAME --role admin",
            _UNAUTHORIZED,
        )
    attempts.note_success(client)
    sessions_of(request).close(session_cookie(request))
    response = RedirectResponse(address if is_local(address) else url(), _SEE_OTHER)
    set_session_cookie(request, response, sessions_of(request).open(hash_token(secret)))
    return response


@router.post("/sign-out", dependencies=[Depends(check_csrf)])
def sign_out(request: Request) -> Response:
    """Close the session."""
    sessions_of(request).close(session_cookie(request))
    response = RedirectResponse(url("sign-in"), _SEE_OTHER)
    delete_session_cookie(request, response)
    return response


@router.get("/links/{code}")
def follow_link(request: Request, code: str) -> Response:
    """Start a session of the link's token.

    The response is a page that leads to the dashboard. After a redirect the browser would not send
    the cookie, which is SameSite=Strict, if the link was on another site.
    """
    token_hash = sessions_of(request).redeem_link(code)
    if token_hash is None:
        return _form(
            request,
            "",
            "This link was used before, or has expired. Create a new one: headrace dashboard",
            _UNAUTHORIZED,
        )
    response = render_page(request, "signed_in.html")
    set_session_cookie(request, response, sessions_of(request).open(token_hash))
    return response


def _form(request: Request, address: str, error: str = "", status_code: int = 200) -> Response:
    return render_page(request, "sign_in.html", status_code=status_code, next=address, error=error)
