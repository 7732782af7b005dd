"""Runs, and their logs."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from headrace.control.api.context import ContextDep
from headrace.control.api.responses import RunView
from headrace.control.api.routes.bodies import MANIFEST_OPENAPI, Limit, Manifest
from headrace.control.api.routes.logs import Follow, Lines, log_response
from headrace.control.launchers.process import LOG_FILE
from headrace.control.operations import runs as operations

router = APIRouter(tags=["runs"])


@router.get("/runs")
def list_runs(
    context: ContextDep,
    limit: Limit = 100,
    before: Annotated[str | None, Query(description="Only runs created before this one.")] = None,
) -> list[RunView]:
    """The newest runs, oldest first."""
    return [
        context.responses.run(run) for run in operations.list_runs(context.store, limit, before)
    ]


@router.post("/runs", status_code=201, openapi_extra=MANIFEST_OPENAPI)
async def create_run(manifest: Manifest, context: ContextDep) -> RunView:
    """Create a run from a manifest."""
    run = await run_in_threadpool(
        operations.create_run,
        context.store,
        manifest.text,
        manifest.file,
        context.now(),
        folder=manifest.folder,
    )
    context.wake()
    return context.responses.run(run)


@router.get("/runs/{run_id}")
def read_run(run_id: str, context: ContextDep) -> RunView:
    """One run."""
    return context.responses.run(operations.read_run(context.store, run_id))


@router.post("/runs/{run_id}/reproduce", status_code=201)
def reproduce_run(run_id: str, context: ContextDep) -> RunView:
    """Create a run with the same spec."""
    run = operations.reproduce_run(context.store, run_id, context.now())
    context.wake()
    return context.responses.run(run)


@router.post("/runs/{run_id}/terminate")
def terminate_run(run_id: str, context: ContextDep) -> RunView:
    """Terminate a run."""
    run = operations.terminate_run(context.store, run_id, context.now())
    context.wake()
    return context.responses.run(run)


@router.delete("/runs/{run_id}", status_code=204)
def delete_run(run_id: str, context: ContextDep) -> None:
    """Delete a finished run with its folder, log and events. Its exports stay."""
    operations.delete_run(context.store, run_id, context.now())
    context.folders.remove_run(run_id)


@router.get("/runs/{run_id}/log")
def read_run_log(
    run_id: str, context: ContextDep, follow: Follow = False, lines: Lines = None
) -> StreamingResponse:
    """A run's log; with ``follow``, until it has ended."""
    operations.read_run(context.store, run_id)

    def find_log() -> Path | None:
        folder = operations.read_run(context.store, run_id).folder
        return None if folder is None else Path(folder) / LOG_FILE

    def is_over() -> bool:
        return operations.read_run(context.store, run_id).is_over

    return log_response(context, find_log, is_over, follow=follow, lines=lines)
