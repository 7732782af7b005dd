"""Tokens for this API. Only administrators may see whose there are."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException

from headrace.control.api.auth import authenticate
from headrace.control.api.context import Context, context_of
from headrace.control.api.routes.bodies import NewTokenBody
from headrace.control.api.viewing import view_token
from headrace.control.api.views import NewTokenView, TokenView
from headrace.control.operations import tokens as operations
from headrace.control.resources import Role, Token


def _administrators_only(token: Annotated[Token, Depends(authenticate)]) -> None:
    if token.role is not Role.ADMIN:
        raise HTTPException(403, "Only an administrator's token may do this.")


router = APIRouter(tags=["tokens"], dependencies=[Depends(_administrators_only)])
ContextDep = Annotated[Context, Depends(context_of)]


@router.get("/tokens")
def list_tokens(context: ContextDep) -> list[TokenView]:
    """Whose tokens there are."""
    return [view_token(token) for token in operations.list_tokens(context.store)]


@router.post("/tokens", status_code=201)
def create_token(body: NewTokenBody, context: ContextDep) -> NewTokenView:
    """Make a token. It is in this answer and nowhere else."""
    try:
        role = Role(body.role)
    except ValueError:
        raise HTTPException(422, "role: must be admin or viewer") from None
    created = operations.create_token(context.store, body.name, role, context.now())
    return NewTokenView(**view_token(created.token).model_dump(), token=created.secret)


@router.delete("/tokens/{name}", status_code=204)
def delete_token(name: str, context: ContextDep) -> None:
    """Make a token useless."""
    operations.remove_token(context.store, name, context.now())
