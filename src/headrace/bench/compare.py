"""Compares targets in interleaved rounds and computes paired ratios."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from headrace.bench.errors import BenchError, OptionError, attempt
from headrace.bench.figures.pairing import PairedRatio, paired_ratios, turn_order
from headrace.bench.figures.run_figures import Figures
from headrace.bench.http.server_info import find_target
from headrace.bench.records import BenchTarget
from headrace.bench.results.measured_run import EndedEarlyError, MeasuredRun, as_bench_error

MeasureTarget = Callable[[int, BenchTarget], MeasuredRun]
"""Takes the index of the round, so that each round has its own prompts, and the target."""


@dataclass(frozen=True)
class ComparisonOutcome:
    measured: list[MeasuredRun]
    """In order of execution."""
    ratios: list[PairedRatio]
    """Over complete rounds."""
    ended_by: BenchError | None = None
    """Why it ended early; None if all rounds completed."""


def parse_targets(
    written: Sequence[str],
    model: str | None,
    api_key: str | None = None,
    ca_certs: Path | None = None,
) -> list[BenchTarget]:
    """``NAME=URL`` or ``NAME=URL#MODEL``, at least two. The model defaults to ``model``, or else to
    the first one of the server's ``/v1/models``."""
    targets: list[BenchTarget] = []
    for text in written:
        name, equals, address = text.partition("=")
        if not equals or not name or not address:
            raise OptionError(f"--target {text}: give NAME=URL or NAME=URL#MODEL.")
        if any(target.name == name for target in targets):
            raise OptionError(f"--target: {name} is given twice.")
        url, _, own_model = address.partition("#")
        targets.append(find_target(url, own_model or model, api_key, name, ca_certs))
    if len(targets) < 2:
        raise OptionError("A comparison needs two targets: --target a=URL --target b=URL.")
    return targets


def run_comparison(
    targets: Sequence[BenchTarget], num_rounds: int, measure_target: MeasureTarget, seed: int = 0
) -> ComparisonOutcome:
    """Each target once per round, on the same prompts, in rotating order.

    An error ends the comparison early: completed runs are returned, with ratios over complete
    rounds. It is raised if no run completed.
    """
    if num_rounds < 1:
        raise OptionError(f"--rounds must be at least 1, got {num_rounds}.")
    by_name = {target.name: target for target in targets}
    measured: list[MeasuredRun] = []
    rounds: list[dict[str, Figures]] = []
    causes: list[BaseException] = []
    try:
        for index in range(num_rounds):
            figures: dict[str, Figures] = {}
            for name in turn_order(list(by_name), index):
                measured.append(measure_target(index, by_name[name]))
                figures[name] = measured[-1].run.figures
                _check_answered(name, index, figures[name])
            rounds.append({name: figures[name] for name in by_name})
    except BaseException as error:  # earlier runs are kept
        causes.append(error)
    ratios = attempt(partial(paired_ratios, rounds, seed), causes)
    ended_by = as_bench_error(causes[0]) if causes else None
    if isinstance(ended_by, EndedEarlyError) and ended_by.measured is not None:
        measured.append(ended_by.measured)
    if not measured:
        raise causes[0]
    return ComparisonOutcome(measured, ratios or [], ended_by)


def _check_answered(name: str, round_index: int, figures: Figures) -> None:
    """Failed requests would make the ratio one of different work."""
    if figures.num_failed:
        kinds = ", ".join(f"{num} {kind}" for kind, num in figures.failures.items())
        raise BenchError(
            f"{figures.num_failed} of {figures.num_requests} requests to {name} failed in round "
            f"{round_index + 1} ({kinds}), so the results are not comparable. "
            "Fix the failures first."
        )
