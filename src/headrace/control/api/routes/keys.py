"""API keys of services."""

from fastapi import APIRouter

from headrace.control.api.context import ContextDep
from headrace.control.api.responses import KeyView, NewKeyView
from headrace.control.api.routes.bodies import NamedBody
from headrace.control.api.to_response import view_key
from headrace.control.operations import keys as operations

router = APIRouter(tags=["keys"])


@router.get("/services/{service}/keys")
def list_keys(service: str, context: ContextDep) -> list[KeyView]:
    """A service's keys, without their secrets."""
    return [view_key(key) for key in operations.list_keys(context.store, service)]


@router.post("/services/{service}/keys", status_code=201)
def create_key(service: str, body: NamedBody, context: ContextDep) -> NewKeyView:
    """Create a key. Its secret is only in this response."""
    created = operations.create_key(context.store, service, body.name, context.now())
    context.wake()
    return NewKeyView(**view_key(created.key).model_dump(), key=created.secret)


@router.delete("/services/{service}/keys/{name}", status_code=204)
def delete_key(service: str, name: str, context: ContextDep) -> None:
    """Revoke a key."""
    operations.remove_key(context.store, service, name, context.now())
    context.wake()
