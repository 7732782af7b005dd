"""Tokens for this API. All routes require the role admin."""

from fastapi import APIRouter, Depends

from headrace.control.api.auth import administrators_only
from headrace.control.api.context import ContextDep
from headrace.control.api.responses import NewTokenView, TokenView
from headrace.control.api.routes.bodies import NewTokenBody
from headrace.control.api.to_response import view_token
from headrace.control.operations import tokens as operations

router = APIRouter(tags=["tokens"], dependencies=[Depends(administrators_only)])


@router.get("/tokens")
def list_tokens(context: ContextDep) -> list[TokenView]:
    """All tokens, without their secrets."""
    return [view_token(token) for token in operations.list_tokens(context.store)]


@router.post("/tokens", status_code=201)
def create_token(body: NewTokenBody, context: ContextDep) -> NewTokenView:
    """Create a token. Its secret is only in this response."""
    created = operations.create_token(context.store, body.name, body.role, context.now())
    return NewTokenView(**view_token(created.token).model_dump(), token=created.secret)


@router.delete("/tokens/{name}", status_code=204)
def delete_token(name: str, context: ContextDep) -> None:
    """Revoke a token."""
    operations.remove_token(context.store, name, context.now())
