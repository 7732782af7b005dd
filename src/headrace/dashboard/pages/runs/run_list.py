"""The list of runs; runs are created here from a manifest."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import RunView
from headrace.control.manifests.parsing.problems import ManifestError, Problem
from headrace.control.operations import runs as operations
from headrace.dashboard.access.guard import VisitorDep
from headrace.dashboard.forms import FormDep
from headrace.dashboard.live.stream import follow_part, threaded
from headrace.dashboard.redirects import redirect_with_notice
from headrace.dashboard.rendering import render_page
from headrace.dashboard.urls import url

router = APIRouter()

FILE = "run.yaml"
"""Names the form's text in errors and events."""
EXAMPLE = """\
name: first-run
run: |
  echo "Hello from $(hostname)"
  mkdir -p /output
  date > /output/date.txt
export:
  /output: artifact://first-output
"""

_NUM_A_PAGE = 50
_TABLE = "runs/_table.html"


@router.get("/runs")
def list_runs(
    request: Request,
    context: ContextDep,
    before: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """One page of runs, newest first; the newest are kept current."""
    runs = _page(context, before)
    return render_page(
        request, "runs/list.html", runs=runs, before=before,
        older_than=runs[-1].run_id if len(runs) == _NUM_A_PAGE else None,
    )  # fmt: skip


@router.get("/runs/live/table")
async def follow_table(request: Request, context: ContextDep) -> Response:
    """The newest runs, as events."""
    return follow_part(request, _TABLE, threaded(lambda: {"runs": _page(context, None)}))


@router.get("/runs/new")
def show_form(request: Request) -> Response:
    """The form for a new run."""
    return _form(request, EXAMPLE)


@router.post("/runs")
def create_run(
    request: Request, context: ContextDep, visitor: VisitorDep, form: FormDep
) -> Response:
    """Create a run, or only check its manifest."""
    text = form.text("manifest")
    try:
        if form.text("action") == "check":
            operations.check_run(context.store, text, FILE)
            return _form(request, text, is_valid=True)
        run = operations.create_run(context.store, text, FILE, context.now())
    except ManifestError as error:
        return _form(request, text, problems=error.problems)
    context.wake()
    return redirect_with_notice(visitor, url("runs", run.run_id), f"Created run {run.run_id}.")


def _form(
    request: Request, text: str, *, problems: tuple[Problem, ...] = (), is_valid: bool = False
) -> Response:
    return render_page(
        request, "runs/new.html", manifest=text, problems=problems, is_valid=is_valid,
        status_code=422 if problems else 200,
    )  # fmt: skip


def _page(context: Context, before: str | None) -> list[RunView]:
    """Newest first."""
    runs = operations.list_runs(context.store, _NUM_A_PAGE, before)
    return [context.responses.run(run) for run in reversed(runs)]
