"""Secrets: created, listed by name, deleted; their values are never returned."""

from fastapi import APIRouter

from headrace.control.api.context import ContextDep
from headrace.control.api.responses import SecretView
from headrace.control.api.routes.bodies import SecretBody
from headrace.control.operations import secrets as operations

router = APIRouter(tags=["secrets"])


@router.get("/secrets")
def list_secrets(context: ContextDep) -> list[SecretView]:
    """The names of all secrets."""
    return [SecretView(name=name) for name in operations.list_secrets(context.store)]


@router.put("/secrets/{name}", status_code=204)
def put_secret(name: str, body: SecretBody, context: ContextDep) -> None:
    """Create or update a secret. It is stored encrypted."""
    operations.put_secret(context.store, context.vault, name, body.value, context.now())


@router.delete("/secrets/{name}", status_code=204)
def delete_secret(name: str, context: ContextDep) -> None:
    """Delete a secret."""
    operations.remove_secret(context.store, name, context.now())
