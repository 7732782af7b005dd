"""Gateways: the targets of services' traffic."""

import asyncio
import time

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import GatewayView
from headrace.control.api.routes.bodies import MANIFEST_OPENAPI, Manifest
from headrace.control.operations import gateways as operations

router = APIRouter(tags=["gateways"])

_POLL_S = 0.03
_GATEWAY_POLL_S = 0.1
"""Twice the interval at which the gateway checks its route table."""


@router.get("/services/{service}/gateway")
def read_gateway(service: str, context: ContextDep) -> GatewayView:
    """A service's targets, status and endpoint."""
    return context.responses.gateway(service, operations.read_gateway(context.store, service))


@router.put("/services/{service}/gateway", openapi_extra=MANIFEST_OPENAPI)
async def update_gateway(service: str, manifest: Manifest, context: ContextDep) -> GatewayView:
    """Replace the targets. Traffic moves once they are ready.

    Responds when the change is applied, or with ``pending`` and the reason.
    """
    await run_in_threadpool(
        operations.update_gateway,
        context.store,
        service,
        manifest.text,
        manifest.file,
        context.now(),
    )
    context.wake()
    return await settled_gateway(context, service)


async def settled_gateway(context: Context, service: str) -> GatewayView:
    """The gateway once the control loop has processed the change, or after a timeout."""
    deadline_s = time.monotonic() + context.settle_timeout_s
    while True:
        gateway = await run_in_threadpool(operations.read_gateway, context.store, service)
        is_settled = gateway is None or gateway.message != operations.CHANGE_REQUESTED
        if is_settled or time.monotonic() > deadline_s:
            await asyncio.sleep(_GATEWAY_POLL_S)
            return context.responses.gateway(service, gateway)
        await asyncio.sleep(_POLL_S)
