"""The machine: cores, memory, disk, GPUs, versions and the platform's processes."""

from collections import defaultdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.devices.machine import MachineReader
from headrace.dashboard.live.stream import follow_part, threaded
from headrace.dashboard.rendering import render_page

router = APIRouter()

_STATE = "machine/_state.html"


@router.get("/machine")
def show_machine(request: Request, context: ContextDep) -> Response:
    """The page."""
    return render_page(request, "machine/machine.html", **_read(request, context))


@router.get("/machine/live")
async def follow_machine(request: Request, context: ContextDep) -> Response:
    """The current state, as events."""
    return follow_part(request, _STATE, threaded(lambda: _read(request, context)))


def _read(request: Request, context: Context) -> dict[str, Any]:
    reader: MachineReader = request.app.state.machine
    with context.store.read() as queries:
        holdings = queries.gpu_holdings()
    holders: dict[str, list[str]] = defaultdict(list)
    for holding in holdings:
        for uuid, share in holding.shares.items():
            holders[uuid].append(
                holding.holder if share == 1 else f"{holding.holder} ({share:g} of it)"
            )
    return {"machine": reader.read(), "holders": holders}
