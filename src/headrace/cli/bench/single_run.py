"""One run against one server, told and kept: what ``serve`` and ``load`` have in common."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType

from headrace.bench.errors import InterruptedRunError
from headrace.cli.bench.options import OutputConfig, ServerConfig, typed_command
from headrace.cli.bench.publishing import check_outputs, fail_if_nothing_was_answered, publish
from headrace.cli.bench.running import exit_if_ended_early

if TYPE_CHECKING:
    from headrace.bench.measurement import Looking, Measured, RunPlan


def measure_once(
    kind: str,
    server: ServerConfig,
    plan: "RunPlan",
    looking: "Looking",
    outputs: OutputConfig,
    seed: int | None,
    show: Callable[["Measured"], Sequence[RenderableType]],
) -> None:
    """``show`` makes what the terminal gets. Ctrl-C ends the run, not the report of it."""
    from headrace.bench.http.server_info import find_target
    from headrace.bench.load.live_progress import LiveProgress
    from headrace.bench.measurement import measure
    from headrace.bench.results.result_file import new_result

    check_outputs(outputs)
    target = find_target(
        server.base_url, server.model, server.api_key, ca_certs=server.ssl_ca_certs
    )
    ended_by: InterruptedRunError | None = None
    with LiveProgress() as progress:
        progress.begin("Measuring")
        try:
            measured = measure(target, plan, looking, progress)
        except InterruptedRunError as error:
            if error.measured is None:
                raise
            measured, ended_by = error.measured, error
    result = new_result(kind, typed_command(), seed, runs=[measured.run])
    publish(result, [measured], outputs, show(measured))
    exit_if_ended_early(ended_by)
    fail_if_nothing_was_answered([measured])
