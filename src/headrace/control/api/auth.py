"""Authentication and authorization: each request needs a token, each change an admin token."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from headrace.control.api.context import Context, context_of
from headrace.control.operations.tokens import find_token
from headrace.control.resources import Role, Token

_bearer = HTTPBearer(auto_error=False, description="A token of `headrace token create`.")


def authenticate(
    context: Annotated[Context, Depends(context_of)],
    given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Token:
    """The request's token. Raises 401 if it is missing or unknown."""
    token = None if given is None else find_token(context.store, given.credentials)
    if token is None:
        raise HTTPException(
            401,
            "Missing or invalid token. Send `Authorization: Bearer TOKEN`; create one with "
            "`headrace token create`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return token


def authorize(request: Request, token: Annotated[Token, Depends(authenticate)]) -> None:
    """Raises 403 if the token's role does not allow the request."""
    if token.role is Role.ADMIN or request.method in ("GET", "HEAD"):
        return
    raise HTTPException(403, f"Token '{token.name}' has the role viewer, which is read-only.")


def administrators_only(token: Annotated[Token, Depends(authenticate)]) -> None:
    """Raises 403 for other roles, for reading too."""
    if token.role is not Role.ADMIN:
        raise HTTPException(403, "This requires a token with the role admin.")
