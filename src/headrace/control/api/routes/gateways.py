"""Where services' traffic goes."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from headrace.control.api.context import Context, context_of
from headrace.control.api.routes.bodies import MANIFEST_OPENAPI, Manifest
from headrace.control.api.views import GatewayView
from headrace.control.operations.gateways import update_gateway
from headrace.control.operations.services import read_service

router = APIRouter(tags=["gateways"])
ContextDep = Annotated[Context, Depends(context_of)]


@router.get("/services/{service}/gateway")
def read(service: str, context: ContextDep) -> GatewayView:
    """Where a service's traffic goes."""
    read_service(context.store, service)
    with context.store.begin() as tx:
        return context.viewer.gateway(service, tx.gateway(service))


@router.put("/services/{service}/gateway", openapi_extra=MANIFEST_OPENAPI)
async def update(service: str, manifest: Manifest, context: ContextDep) -> GatewayView:
    """Send traffic where the manifest says, once what it names is ready."""
    gateway = await run_in_threadpool(
        update_gateway, context.store, service, manifest.text, manifest.file, context.now()
    )
    context.poke()
    return context.viewer.gateway(service, gateway)
