"""One run against one server: what ``serve`` and ``load`` have in common."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType

from headrace.bench.results.measured_run import EndedEarlyError
from headrace.cli.bench.options import OutputConfig, ServerConfig, typed_command
from headrace.cli.bench.output import check_outputs, fail_if_nothing_was_answered, publish

if TYPE_CHECKING:
    from headrace.bench.measurement import MeasurementOptions, RunPlan
    from headrace.bench.results.measured_run import MeasuredRun


def measure_once(
    kind: str,
    server: ServerConfig,
    plan: "RunPlan",
    measurement_options: "MeasurementOptions",
    outputs: OutputConfig,
    seed: int | None,
    show: Callable[["MeasuredRun"], Sequence[RenderableType]],
) -> None:
    """``show`` makes what the terminal gets. What ends the run early ends no report of it."""
    from headrace.bench.http.server_info import find_target
    from headrace.bench.load.live_progress import LiveProgress
    from headrace.bench.measurement import measure
    from headrace.bench.results.result_file import new_result

    check_outputs(outputs)
    result = new_result(kind, typed_command(server.api_key), seed)
    target = find_target(
        server.base_url, server.model, server.api_key, ca_certs=server.ssl_ca_certs
    )
    ended_by: EndedEarlyError | None = None
    with LiveProgress() as progress:
        progress.begin("Measuring")
        try:
            measured = measure(target, plan, measurement_options, progress)
        except EndedEarlyError as error:
            if error.measured is None:
                raise
            measured, ended_by = error.measured, error
    result = result.finished(runs=[measured.run])
    publish(result, [measured], outputs, lambda: show(measured), ended_by)
    fail_if_nothing_was_answered([measured])
