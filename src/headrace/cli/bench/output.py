"""Where a finished result goes: the terminal, the JSON file, the CSV file. Measures nothing.

Each of them is tried, whatever becomes of the others.
"""

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

if TYPE_CHECKING:
    from headrace.bench.errors import BenchError
    from headrace.bench.results.measured_run import MeasuredRun
    from headrace.bench.results.result_file import BenchResult


def check_outputs(outputs: OutputConfig) -> None:
    """Before anything is measured, so that an hour's work is not lost to a mistyped name."""
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
    show: Callable[[], Sequence[RenderableType]],
    ended_by: "BenchError | None" = None,
) -> None:
    """Files first, so that a broken pipe loses none of them; then JSON or what ``show`` makes.

    Exits with the reason where not all was measured (``ended_by``) or not all could be written.
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
    """Between two runs of a series, so that not even a kill loses those before it."""
    if outputs.output is not None:
        attempt(partial(_write_result, result, outputs.output), [])  # the last one tells


def save(path: Path, write: Callable[[Path], None]) -> None:
    """Write the file, or else one of its name in the system's folder for temporary files.

    Raises ResultFileError in the second case too, with the place.
    """
    try:
        write(path)
    except ResultFileError as error:
        place = _save_elsewhere(path.name, write)
        if place is None:
            raise
        raise ResultFileError(f"{error} It is in {place} instead.") from error
    print_stderr(f"Wrote {path}.")


def fail_if_nothing_was_answered(measured: Sequence["MeasuredRun"]) -> None:
    """Exit code 1, with the first error, when not one request succeeded."""
    if any(each.run.figures.num_successful for each in measured):
        return
    errors = [record.error for each in measured for record in each.records if record.error]
    raise ServerError(f"No request was answered. The first error: {errors[0] if errors else '?'}")


def show_on_stdout(*shown: RenderableType) -> None:
    """Piped, a table is as wide as its content, so that nothing is cut."""
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    for each in shown:
        console.print(each)


def _save_elsewhere(name: str, write: Callable[[Path], None]) -> Path | None:
    """None where that cannot be written either."""
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
    result: "BenchResult", outputs: OutputConfig, show: Callable[[], Sequence[RenderableType]]
) -> None:
    from headrace.bench.results.result_file import to_json

    if outputs.as_json:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as JSON is
        print(to_json(result))
    else:
        show_on_stdout(*show())
    flush_stdout()


def _rescue(result: "BenchResult", cause: BaseException) -> None:
    """The result could not be shown, and no file has it."""
    if isinstance(cause, BrokenPipeError):  # it was not wanted
        return
    place = Path(tempfile.mkdtemp(prefix="headrace-bench-")) / "result.json"
    _write_result(result, place)
    print_stderr(f"Wrote {place}, as the result could not be shown.")
