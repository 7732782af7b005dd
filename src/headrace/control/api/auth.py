"""Who may do what: a token in each request, an administrator's for every change.

Knows hashes of tokens, never the tokens.
"""

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
    """The token that came with the request. Raises 401 if there is none that we know."""
    token = None if given is None else find_token(context.store, given.credentials)
    if token is None:
        raise HTTPException(
            401,
            "No valid token. Send `Authorization: Bearer TOKEN` with a token of "
            "`headrace token create`; the command line finds its own.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return token


def authorize(request: Request, token: Annotated[Token, Depends(authenticate)]) -> None:
    """Raises 403 if the token may not do what is asked."""
    if token.role is Role.ADMIN or request.method in ("GET", "HEAD"):
        return
    raise HTTPException(
        403, f"Token '{token.name}' is a viewer's: it may look, and change nothing."
    )


def administrators_only(token: Annotated[Token, Depends(authenticate)]) -> None:
    """Raises 403 for others, who may not even look."""
    if token.role is not Role.ADMIN:
        raise HTTPException(403, "Only an administrator's token may do this.")
