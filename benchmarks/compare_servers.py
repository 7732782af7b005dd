"""Compare servers on one machine in interleaved pairs, each at its best settings.

Any server with an OpenAI-compatible API can be compared. Run by hand; see README.md.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from cpu_use import CpuMeter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from servers import Server, hide_secrets, say
from settings_search import Choice, search_settings
from workload_runner import WorkloadRunner
from workloads import WORKLOADS, Workload

from headrace.bench.errors import BenchError, OptionError
from headrace.bench.figures.pairing import COMPARED, PairedRatio, paired_ratios, turn_order
from headrace.bench.figures.run_figures import Figures
from headrace.bench.results.result_file import RunResult, new_result, write_result
from headrace.bench.results.tables import comparison_table
from headrace.bench.workloads.prompt_maker import FIRST_TOKEN_ID
from headrace.cli.bench.output import to_renderable


@dataclass(frozen=True)
class Options:
    servers: tuple[str, ...]
    """Each as name=command or name=http://host:port; the first name is the baseline. Several with
    the same name are candidates, of which the best one per workload is compared."""
    model: str | None
    workloads: tuple[Workload, ...]
    num_pairs: int
    num_search_runs: int
    output: Path
    restart: bool
    vocab_size: int
    seed: int
    start_timeout_s: float
    request_timeout_s: float


class Comparison:
    """Searches the best settings, runs all pairs and stores their results."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._candidates = _parse_servers(options)
        """By name."""
        self._names = list(self._candidates)
        self._choices: dict[str, dict[str, Choice]] = {}
        """The servers to compare, by workload and name."""
        self._runs: dict[str, list[RunResult]] = {each.name: [] for each in options.workloads}
        """By workload, in order of execution."""
        self._runner = WorkloadRunner(
            seed=options.seed,
            vocab_size=options.vocab_size,
            start_timeout_s=options.start_timeout_s,
            request_timeout_s=options.request_timeout_s,
        )

    def run(self) -> None:
        """All pairs. Every server that was started here is stopped at the end or on an error.

        Pairs are the outer loop, so that a machine that slows down does so for all workloads;
        within a pair the servers take turns at one workload, so that both figures of a ratio are
        measured close together.
        """
        options = self._options
        options.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._search()
            if not options.restart:
                for server in self._chosen_servers:
                    self._runner.start(server)
            for pair in range(options.num_pairs):
                for workload in options.workloads:
                    for name in turn_order(self._names, pair):
                        self._take_turn(pair, workload, self._choices[workload.name][name])
        finally:
            for candidates in self._candidates.values():
                for server in candidates:
                    server.stop()

    def show(self) -> None:
        """The tables of each workload that has a run."""
        # Piped, a table is as wide as its content, so that nothing is cut.
        console = Console() if sys.stdout.isatty() else Console(width=10_000)
        for workload in self._options.workloads:
            by_server = {
                name: [run.figures for run in self._runs[workload.name] if run.target == name]
                for name in self._names
            }
            if not any(by_server.values()):
                continue
            console.print(f"\n[bold]{workload.name}[/]: {workload.description}\n")
            console.print(_figures_table(workload, by_server))
            ratios = [each for each in self._ratios(workload) if each.figure in workload.figures]
            if ratios:
                console.print()
                console.print(to_renderable(comparison_table(ratios)))

    @property
    def written(self) -> list[Path]:
        """The files of results."""
        return [_path_of(each, self._options) for each in WORKLOADS.values() if self._has(each)]

    def _search(self) -> None:
        options = self._options
        for workload in options.workloads:
            self._choices[workload.name] = {}
        for name, candidates in self._candidates.items():
            found = search_settings(
                candidates, options.workloads, self._runner, options.num_search_runs
            )
            for workload_name, choice in found.items():
                self._choices[workload_name][name] = choice
                if choice.trials:
                    say(f"best settings  {workload_name}  {name}: {choice.server.shown}")

    @property
    def _chosen_servers(self) -> list[Server]:
        """Each once, though it may be chosen for several workloads."""
        servers: list[Server] = []
        for choices in self._choices.values():
            servers += [each.server for each in choices.values() if each.server not in servers]
        return servers

    def _take_turn(self, pair: int, workload: Workload, choice: Choice) -> None:
        if not self._options.restart:
            self._measure(pair, workload, choice)
            return
        self._runner.start(choice.server)
        self._measure(pair, workload, choice)
        choice.server.stop()

    def _measure(self, pair: int, workload: Workload, choice: Choice) -> None:
        server = choice.server
        server.check_alive()
        options = self._options
        setting: dict[str, object] = {
            "workload": workload.name,
            "round": pair,
            "num_rounds": options.num_pairs,
            "dataset": "random",
            "server_command": server.shown,
            "settings_search": choice.for_file(),
            "server_start_s": server.start_s[-1] if server.start_s else None,
            "restart": options.restart,
        }
        meter = CpuMeter(self._chosen_servers)
        # Each pair has its own prompts, the same for all servers, so that caches do not help.
        run = self._runner.send(workload, str(pair), server, setting).run
        cpu_use = meter.read(server)
        run.setting["cores_busy"] = asdict(cpu_use)
        self._runs[workload.name].append(run)
        self._save(workload)
        say(
            f"pair {pair + 1}/{options.num_pairs}  {workload.name}  {server.name}: "
            f"{run.figures.output_tokens_per_s:.1f} tokens/s in {run.figures.duration_s:.1f} s; "
            f"{cpu_use}"
        )
        for note in filter(None, [run.client_bound, *cpu_use.warnings]):
            say(f"  note: {note}")

    def _ratios(self, workload: Workload) -> list[PairedRatio]:
        """Of the pairs that are whole."""
        pairs: list[dict[str, Figures]] = [{} for _ in range(self._options.num_pairs)]
        for run in self._runs[workload.name]:
            pairs[run.setting["round"]][run.target] = run.figures
        whole = [
            {name: pair[name] for name in self._names}
            for pair in pairs
            if len(pair) == len(self._names)
        ]
        return paired_ratios(whole, self._options.seed)

    def _save(self, workload: Workload) -> None:
        result = new_result(
            "compare",
            [hide_secrets(argument) for argument in sys.argv],
            self._options.seed,
            runs=self._runs[workload.name],
            comparison=self._ratios(workload),
        )
        write_result(_path_of(workload, self._options), result)

    def _has(self, workload: Workload) -> bool:
        return bool(self._runs.get(workload.name))


def _figures_table(workload: Workload, by_server: dict[str, list[Figures]]) -> Table:
    """Each server's median over the pairs, minimum and maximum in brackets; in ms."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("median over pairs", no_wrap=True)
    for name in by_server:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for name in workload.figures:
        figure = COMPARED[name]
        is_time = figure.percentile is not None
        scale = 1000 if is_time else 1
        cells = [_cell([v * scale for v in _known(name, runs)]) for runs in by_server.values()]
        table.add_row(f"{figure.label}{', ms' if is_time else ''}", *cells)
    return table


def _known(name: str, runs: Sequence[Figures]) -> list[float]:
    return [value for run in runs if (value := COMPARED[name].read(run)) is not None]


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{_number(median(values))} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _path_of(workload: Workload, options: Options) -> Path:
    """compare.json has W1 in compare-W1.json."""
    output = options.output
    return output.with_name(f"{output.stem}-{workload.name}{output.suffix or '.json'}")


def _parse_servers(options: Options) -> dict[str, list[Server]]:
    """The candidates of each name, in the order of the command line."""
    written: dict[str, list[str]] = {}
    for text in options.servers:
        name, is_named, target = text.partition("=")
        if not is_named or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise OptionError(
                f"--server takes name=command or name=http://host:port, not {hide_secrets(text)!r}"
            )
        written.setdefault(name, []).append(target.strip())
    stem = options.output.stem
    return {
        name: [
            Server(
                name,
                target,
                options.model,
                options.output.with_name(
                    f"{stem}.{name}.log" if len(targets) == 1 else f"{stem}.{name}-{number}.log"
                ),
            )
            for number, target in enumerate(targets, start=1)
        ]
        for name, targets in written.items()
    }


def _parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--server",
        action="append",
        required=True,
        metavar="NAME=TARGET",
        help="a command with {port} in it, or http://host:port; the first name is the baseline. "
        "Several with one name are candidate settings: the best one per workload is compared",
    )
    parser.add_argument("--model", help="model name in requests (default: first of /v1/models)")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="default: %(default)s")
    parser.add_argument("--pairs", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--search-runs",
        type=int,
        default=1,
        help="runs per candidate and workload in the settings search (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results/compare.json"),
        help="compare.json: writes compare-W1.json and so on (default: %(default)s)",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="restart each server for each run, with no other server running",
    )
    parser.add_argument("--vocab-size", type=int, default=49152, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the prompts")
    parser.add_argument("--start-timeout", type=float, default=600.0, metavar="S")
    parser.add_argument("--request-timeout", type=float, default=900.0, metavar="S")
    values = parser.parse_args(arguments)
    names = values.workloads.split(",")
    if unknown := [name for name in names if name not in WORKLOADS]:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    if values.pairs < 1 or values.search_runs < 1:
        parser.error("--pairs and --search-runs must be at least 1")
    if values.vocab_size <= FIRST_TOKEN_ID:
        parser.error(f"--vocab-size must be above {FIRST_TOKEN_ID}")
    if values.restart and any("=http" in text for text in values.server):
        parser.error("--restart needs commands: a running server cannot be restarted")
    return Options(
        servers=tuple(values.server),
        model=values.model,
        workloads=tuple(WORKLOADS[name] for name in names),
        num_pairs=values.pairs,
        num_search_runs=values.search_runs,
        output=values.output,
        restart=values.restart,
        vocab_size=values.vocab_size,
        seed=values.seed,
        start_timeout_s=values.start_timeout,
        request_timeout_s=values.request_timeout,
    )


def main() -> int:
    options = _parse(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    for number in (signal.SIGTERM, signal.SIGHUP):  # stop the servers, as Ctrl-C does
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    problem = ""
    comparison = None
    try:
        comparison = Comparison(options)
        comparison.run()
    except BenchError as error:
        problem = f"failed: {error}"
    except KeyboardInterrupt:
        problem = "interrupted"
    if comparison is not None and comparison.written:
        comparison.show()
        say(f"\nResults: {', '.join(map(str, comparison.written))}")
    if problem:
        say(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
