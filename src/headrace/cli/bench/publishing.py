"""Where a finished result goes: the terminal, the JSON file, the CSV file. Measures nothing."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType

from headrace.cli.bench.options import OutputConfig

if TYPE_CHECKING:
    from headrace.bench.measurement import Measured
    from headrace.bench.results.result_file import BenchResult


def check_outputs(outputs: OutputConfig) -> None:
    """Before anything is measured, so that an hour's work is not lost to a mistyped name."""
    from headrace.bench.errors import OptionError
    from headrace.bench.results.destination import check_can_be_written

    if outputs.output is not None and outputs.output == outputs.csv:
        raise OptionError("--output and --csv name the same file.")
    for path in (outputs.output, outputs.csv):
        if path is not None:
            check_can_be_written(path)


def publish(
    result: "BenchResult",
    measured: Sequence["Measured"],
    outputs: OutputConfig,
    shown: Sequence[RenderableType],
) -> None:
    """Files first, so that a broken pipe loses none of them; then JSON or what is ``shown``."""
    from headrace.bench.results.request_csv import RequestCsv, write_batches
    from headrace.bench.results.result_file import to_json, write_result

    if outputs.output is not None:
        write_result(outputs.output, result)
        _tell(f"The result is in {outputs.output}.")
    if outputs.csv is not None and result.offline is not None:
        write_batches(outputs.csv, result.offline)
        _tell(f"The batches are in {outputs.csv}.")
    elif outputs.csv is not None:
        rows = RequestCsv()
        for each in measured:
            rows.add_run(each.run.target, each.records)
        rows.write(outputs.csv)
        _tell(f"The requests are in {outputs.csv}.")
    if outputs.as_json:
        print(to_json(result))
    else:
        # Piped, a table is as wide as its content, so that nothing is cut.
        console = Console() if sys.stdout.isatty() else Console(width=10_000)
        for renderable in shown:
            console.print(renderable)


def fail_if_nothing_was_answered(measured: Sequence["Measured"]) -> None:
    """Exit code 1, with the first error, when not one request succeeded."""
    from headrace.bench.errors import ServerError

    if any(each.run.figures.num_successful for each in measured):
        return
    errors = [record.error for each in measured for record in each.records if record.error]
    raise ServerError(f"No request was answered. The first error: {errors[0] if errors else '?'}")


def _tell(line: str) -> None:
    """On stderr, as stdout is the result's."""
    print(line, file=sys.stderr)
