"""Where services' traffic goes."""

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from headrace.control.api.context import ContextDep
from headrace.control.api.routes.bodies import MANIFEST_OPENAPI, Manifest
from headrace.control.api.views import GatewayView
from headrace.control.operations import gateways as operations

router = APIRouter(tags=["gateways"])


@router.get("/services/{service}/gateway")
def read_gateway(service: str, context: ContextDep) -> GatewayView:
    """Where a service's traffic goes."""
    return context.viewer.gateway(service, operations.read_gateway(context.store, service))


@router.put("/services/{service}/gateway", openapi_extra=MANIFEST_OPENAPI)
async def update_gateway(service: str, manifest: Manifest, context: ContextDep) -> GatewayView:
    """Send traffic where the manifest says, once what it names is ready."""
    gateway = await run_in_threadpool(
        operations.update_gateway,
        context.store,
        service,
        manifest.text,
        manifest.file,
        context.now(),
    )
    context.poke()
    return context.viewer.gateway(service, gateway)
