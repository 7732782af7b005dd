"""Writes a result to the terminal, the JSON file and the CSV file; each failure is independent."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType

from headrace.bench.errors import ResultFileError, ServerError, attempt
from headrace.cli.bench.command import finish, flush_stdout, print_stderr, uninterrupted
from headrace.cli.bench.options import OutputConfig
from headrace.cli.tables import SplitTable, aligned_fields

if TYPE_CHECKING:
    from rich.text import Text

    from headrace.bench.errors import BenchError
    from headrace.bench.results.measured_run import MeasuredRun
    from headrace.bench.results.result_file import BenchResult
    from headrace.bench.results.tables import FieldList, TextTable

    Shown = FieldList | TextTable | Text
    """What a command prints."""


def check_outputs(outputs: OutputConfig) -> None:
    """Before a measurement, so that its result is not lost to a path that cannot be written."""
    from headrace.bench.errors import OptionError
    from headrace.bench.results.destination import check_can_be_written, check_stream

    if outputs.output is not None and outputs.output == outputs.csv:
        raise OptionError("--output and --csv name the same file.")
    for path in (outputs.output, outputs.csv):
        if path is not None:
            check_can_be_written(path)
    check_stream(sys.stdout, "stdout")


def publish(
    result: "BenchResult",
    measured: Sequence["MeasuredRun"],
    outputs: OutputConfig,
    show: Callable[[], Sequence["Shown"]],
    ended_by: "BenchError | None" = None,
) -> None:
    """Write the files first, so that a broken pipe loses none of them; then print JSON or ``show``.

    Exits with an error if the measurement ended early (``ended_by``) or a write failed.
    """
    causes: list[BaseException] = []
    with uninterrupted():
        if outputs.output is not None:
            attempt(partial(save, outputs.output, partial(_write_result, result)), causes)
        if outputs.csv is not None:
            write = partial(_write_csv, result, measured)
            attempt(partial(save, outputs.csv, write), causes)
    num_unwritten = len(causes)
    attempt(partial(_print, result, outputs, show), causes)
    if len(causes) > num_unwritten and outputs.output is None:
        attempt(partial(_rescue, result, causes[-1]), causes)
    finish(ended_by, causes)


def save_so_far(result: "BenchResult", outputs: OutputConfig) -> None:
    """Between two runs of a series, so that a killed process loses the run in progress only."""
    if outputs.output is not None:
        attempt(partial(_write_result, result, outputs.output), [])  # the final write reports


def save(path: Path, write: Callable[[Path], None]) -> None:
    """Write the file; if that fails, write one of the same name to the temporary directory.

    Raises ResultFileError in the second case too; it names the fallback.
    """
    try:
        write(path)
    except ResultFileError as error:
        place = _save_elsewhere(path.name, write)
        if place is None:
            raise
        raise ResultFileError(f"{error} Wrote {place} instead.") from error
    print_stderr(f"Wrote {path}.")


def fail_if_nothing_was_answered(measured: Sequence["MeasuredRun"]) -> None:
    """Raises ServerError, with the first error, if no request succeeded."""
    if any(each.run.figures.num_successful for each in measured):
        return
    errors = [record.error for each in measured for record in each.records if record.error]
    raise ServerError(f"All requests failed. First error: {errors[0] if errors else 'unknown'}")


def show_on_stdout(*shown: "Shown") -> None:
    """Piped, a table is as wide as its content, so that nothing is cut."""
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    for each in shown:
        console.print(to_renderable(each))


def to_renderable(shown: "Shown") -> RenderableType:
    from headrace.bench.results.tables import FieldList, TextTable

    if isinstance(shown, FieldList):
        return aligned_fields(shown.rows)
    if isinstance(shown, TextTable):
        return SplitTable(shown.headings, shown.rows, shown.num_keys, shown.bold_row)
    return shown


def _save_elsewhere(name: str, write: Callable[[Path], None]) -> Path | None:
    """None if that fails too."""
    try:
        place = Path(tempfile.mkdtemp(prefix="headrace-bench-")) / name
        write(place)
    except (OSError, ResultFileError):
        return None
    return place


def _write_result(result: "BenchResult", path: Path) -> None:
    from headrace.bench.results.result_file import write_result

    write_result(path, result)


def _write_csv(result: "BenchResult", measured: Sequence["MeasuredRun"], path: Path) -> None:
    from headrace.bench.results.request_csv import RequestCsv, write_batches

    if result.offline is not None:
        write_batches(path, result.offline)
        return
    rows = RequestCsv()
    for each in measured:
        rows.add_run(each.run.target, each.records)
    rows.write(path)


def _print(
    result: "BenchResult", outputs: OutputConfig, show: Callable[[], Sequence["Shown"]]
) -> None:
    from headrace.bench.results.result_file import to_json

    if outputs.as_json:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # JSON is UTF-8
        print(to_json(result))
    else:
        show_on_stdout(*show())
    flush_stdout()


def _rescue(result: "BenchResult", cause: BaseException) -> None:
    """The result could not be printed, and was not saved either."""
    if isinstance(cause, BrokenPipeError):  # the reader has left
        return
    place = Path(tempfile.mkdtemp(prefix="headrace-bench-")) / "result.json"
    _write_result(result, place)
    print_stderr(f"The result could not be printed; wrote {place}.")
