"""Dependencies of routes: the request's session, and what it may do."""

import secrets
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from starlette.responses import Response

from headrace.control.api.context import ContextDep, context_of
from headrace.control.operations.tokens import find_token_by_hash
from headrace.control.resources import Role, Token
from headrace.dashboard.access.sessions import SESSION_S, OpenedSession, Session, Sessions
from headrace.dashboard.forms import FormDep
from headrace.dashboard.urls import ROOT

CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"

_SAFE_METHODS = ("GET", "HEAD")


class NotSignedInError(Exception):
    """The request has no valid session."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """The session of a request, and its token."""

    session: Session
    token: Token

    @property
    def is_admin(self) -> bool:
        return self.token.role is Role.ADMIN


def sessions_of(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def signed_in(request: Request, context: ContextDep) -> Visitor:
    """Raises NotSignedInError."""
    session = sessions_of(request).find(session_cookie(request))
    token = None if session is None else find_token_by_hash(context.store, session.token_hash)
    if session is None or token is None:
        raise NotSignedInError
    visitor = Visitor(session, token)
    request.state.visitor = visitor
    return visitor


def is_signed_in(request: Request) -> bool:
    """Whether the session is still valid, of a request that has one."""
    try:
        signed_in(request, context_of(request))
    except NotSignedInError:
        return False
    return True


VisitorDep = Annotated[Visitor, Depends(signed_in)]


def check_csrf(request: Request, visitor: VisitorDep, form: FormDep) -> None:
    """Changes need the session's CSRF token, in a header or in the form. Raises 403."""
    if request.method in _SAFE_METHODS:
        return
    given = request.headers.get(CSRF_HEADER) or form.text(CSRF_FIELD)
    if not secrets.compare_digest(given.encode(), visitor.session.csrf_token.encode()):
        raise HTTPException(403, "The form is outdated. Reload the page and try again.")


def authorize(
    request: Request, visitor: VisitorDep, _: Annotated[None, Depends(check_csrf)]
) -> None:
    """Viewers may read, administrators may change. Raises 403."""
    if request.method not in _SAFE_METHODS and not visitor.is_admin:
        raise HTTPException(
            403, f"Token '{visitor.token.name}' has the role viewer, which is read-only."
        )


def administrators_only(visitor: VisitorDep) -> None:
    """Raises 403 for other roles, for reading too."""
    if not visitor.is_admin:
        raise HTTPException(403, "This page requires a token with the role admin.")


def refuse_cross_site(request: Request) -> None:
    """Raises 403 for changes that another site's page, or another port's, has sent."""
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_own = site in ("same-origin", "none")
    else:  # an old browser, or none
        is_own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not is_own:
        raise HTTPException(403, "Requests from other sites are not allowed.")


def session_cookie(request: Request) -> str:
    """The cookie's value; empty if there is none."""
    return request.cookies.get(_cookie_name(request), "")


def set_session_cookie(request: Request, response: Response, opened: OpenedSession) -> None:
    response.set_cookie(
        _cookie_name(request),
        opened.cookie,
        max_age=int(SESSION_S),
        path=ROOT,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def delete_session_cookie(request: Request, response: Response) -> None:
    response.delete_cookie(
        _cookie_name(request),
        path=ROOT,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _cookie_name(request: Request) -> str:
    """With the port: browsers send the cookies of one host to all of its ports."""
    return f"headrace_session_{request.url.port or request.url.scheme}"
