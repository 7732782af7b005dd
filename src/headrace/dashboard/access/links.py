"""The API's route for one-time links, which `headrace dashboard` opens."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from headrace.control.api.auth import authenticate
from headrace.control.api.responses import DashboardLinkView
from headrace.control.operations.tokens import hash_token
from headrace.control.resources import Token
from headrace.dashboard.access.guard import sessions_of
from headrace.dashboard.access.sessions import LINK_S
from headrace.dashboard.urls import url

router = APIRouter(tags=["dashboard"])


@router.post("/dashboard/links", status_code=201)
def create_dashboard_link(
    request: Request, token: Annotated[Token, Depends(authenticate)]
) -> DashboardLinkView:
    """Create a one-time link that opens the dashboard, signed in with this request's token."""
    secret = request.headers["authorization"].partition(" ")[2].strip()
    code = sessions_of(request).create_link(hash_token(secret))
    return DashboardLinkView(path=url("links", code), expires_in_s=LINK_S)
