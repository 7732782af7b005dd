"""One run: state, ports, log, artifacts, manifest, events; reproduced, terminated, deleted."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.routes import runs as api
from headrace.control.api.to_response import view_event
from headrace.control.operations import runs as operations
from headrace.control.operations.finding import find_run
from headrace.dashboard.access.guard import VisitorDep
from headrace.dashboard.live.stream import follow_part, threaded
from headrace.dashboard.logs import as_download
from headrace.dashboard.manifest_text import spec_yaml
from headrace.dashboard.pages.runs.run_artifacts import artifacts_of
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.rendering import render_page
from headrace.dashboard.urls import url

router = APIRouter()

_NUM_EVENTS = 50
_STATE = "runs/_run.html"


@router.get("/runs/{run_id}")
def show_run(request: Request, run_id: str, context: ContextDep) -> Response:
    """All about one run."""
    values = _read(context, run_id)
    manifest = spec_yaml(values["run"].spec)
    return render_page(request, "runs/run.html", manifest=manifest, **values)


@router.get("/runs/{run_id}/live")
async def follow_run(request: Request, run_id: str, context: ContextDep) -> Response:
    """The state of one run, as events."""
    return follow_part(request, _STATE, threaded(lambda: _read(context, run_id)))


@router.get("/runs/{run_id}/log")
def read_log(
    run_id: str,
    context: ContextDep,
    follow: bool = False,
    lines: Annotated[int | None, Query(ge=0, le=100_000)] = None,
    download: bool = False,
) -> Response:
    """A run's log as text; with ``follow``, until it has ended."""
    response = api.read_run_log(run_id, context, follow=follow, lines=lines)
    return as_download(response, f"run-{run_id}.log") if download else response


@router.post("/runs/{run_id}/reproduce")
def reproduce_run(run_id: str, context: ContextDep, visitor: VisitorDep) -> Response:
    """Create a run with the same spec."""
    run = operations.reproduce_run(context.store, run_id, context.now())
    context.wake()
    return redirect_with_notice(
        visitor, url("runs", run.run_id), f"Created run {run.run_id}, which reproduces {run_id}."
    )


@router.post("/runs/{run_id}/terminate")
def terminate_run(run_id: str, context: ContextDep, visitor: VisitorDep) -> Response:
    """Terminate a run. Its exports are kept."""
    run = operations.terminate_run(context.store, run_id, context.now())
    context.wake()
    return redirect_with_notice(visitor, url("runs", run_id), f"Run {run_id} is {run.state}.")


@router.post("/runs/{run_id}/delete")
def delete_run(run_id: str, context: ContextDep, visitor: VisitorDep) -> Response:
    """Delete a finished run with its folder, log and events. Its exports stay."""
    operations.delete_run(context.store, run_id, context.now())
    context.folders.remove_run(run_id)
    return redirect_with_notice(visitor, url("runs"), f"Deleted run {run_id}.")


def _read(context: Context, run_id: str) -> dict[str, Any]:
    """What ``runs/_run.html`` shows."""
    with context.store.read() as queries:
        run = find_run(queries, run_id)
        events = queries.events(run_id=run_id, limit=_NUM_EVENTS)
    return {
        "run": context.responses.run(run),
        "is_over": run.is_over,
        "artifacts": artifacts_of(context, run),
        "events": [view_event(event) for event in reversed(events)],
    }
