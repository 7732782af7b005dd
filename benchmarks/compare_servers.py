"""Measure servers against each other on one machine, in one run, in interleaved pairs.

Starts them, and sends with `headrace.bench`. Knows only the OpenAI API: any server may be a side.
Run by hand; README.md says how.
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
from workloads import WARM_UPS, WORKLOADS, Workload

from headrace.bench.errors import BenchError, OptionError, ServerError
from headrace.bench.figures.pairing import COMPARED, PairedRatio, paired_ratios, turn_order
from headrace.bench.figures.run_figures import Figures
from headrace.bench.load.arrivals import ClosedLoop
from headrace.bench.measurement import MeasurementOptions, RunPlan, measure
from headrace.bench.results.measured_run import MeasuredRun
from headrace.bench.results.result_file import RunResult, new_result, write_result
from headrace.bench.results.tables import comparison_table
from headrace.bench.workloads.prompt_maker import FIRST_TOKEN_ID
from headrace.cli.bench.output import to_renderable


@dataclass(frozen=True)
class Options:
    servers: tuple[str, ...]
    """Each as name=command or name=http://host:port; the others are compared with the first."""
    model: str | None
    workloads: tuple[Workload, ...]
    num_pairs: int
    output: Path
    restart: bool
    vocab_size: int
    seed: int
    start_timeout_s: float
    request_timeout_s: float


class Comparison:
    """Runs all pairs and keeps what they gave."""

    def __init__(self, options: Options) -> None:
        self._options = options
        servers = [_parse_server(text, options) for text in options.servers]
        self._servers = {server.name: server for server in servers}
        if len(self._servers) < len(servers):
            names = ", ".join(server.name for server in servers)
            raise OptionError(f"Each server needs a name of its own, not {names}.")
        self._runs: dict[str, list[RunResult]] = {each.name: [] for each in options.workloads}
        """By workload, in the order in which they were made."""

    def run(self) -> None:
        """All pairs. At the end, and when something fails, no server that it started is left.

        Pairs are the outer loop, so that a machine that grows slower in the meantime does so for
        all workloads; within a pair the servers take turns at one workload, so that the two
        figures of a ratio lie as near in time as they can.
        """
        options = self._options
        options.output.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not options.restart:
                for server in self._servers.values():
                    self._start(server)
            for pair in range(options.num_pairs):
                for workload in options.workloads:
                    for name in turn_order(list(self._servers), pair):
                        self._take_turn(pair, workload, self._servers[name])
        finally:
            for server in self._servers.values():
                server.stop()

    def show(self) -> None:
        """The tables of each workload that has a run."""
        # Piped, a table is as wide as its content, so that nothing is cut.
        console = Console() if sys.stdout.isatty() else Console(width=10_000)
        for workload in self._options.workloads:
            by_server = {
                name: [run.figures for run in self._runs[workload.name] if run.target == name]
                for name in self._servers
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

    def _start(self, server: Server) -> None:
        server.start(self._options.start_timeout_s)
        for workload in WARM_UPS:
            # As many warm-ups as starts, each with prompts of its own: none is in a cache.
            self._send(workload, f"{self._options.seed}/{len(server.start_s)}", server, {})

    def _take_turn(self, pair: int, workload: Workload, server: Server) -> None:
        if not self._options.restart:
            self._measure(pair, workload, server)
            return
        self._start(server)
        self._measure(pair, workload, server)
        server.stop()

    def _measure(self, pair: int, workload: Workload, server: Server) -> None:
        server.check_alive()
        options = self._options
        setting: dict[str, object] = {
            "workload": workload.name,
            "round": pair,
            "num_rounds": options.num_pairs,
            "dataset": "random",
            "server_command": server.shown,
            "server_start_s": server.start_s[-1] if server.start_s else None,
            "restart": options.restart,
        }
        meter = CpuMeter(list(self._servers.values()))
        # A new seed each pair, the same for all servers: no cache helps from pair to pair.
        run = self._send(workload, f"{options.seed}/{pair}", server, setting).run
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

    def _send(
        self, workload: Workload, seed: str, server: Server, setting: dict[str, object]
    ) -> MeasuredRun:
        plan = RunPlan(
            workload=workload.requests(seed, self._options.vocab_size),
            arrivals=ClosedLoop(workload.concurrency),
            timeout_s=self._options.request_timeout_s,
            extra_body={"temperature": 0},
            setting=setting,
        )
        # The client shares the machine with the server: where it was slowed down, that is said.
        measurement_options = MeasurementOptions(allow_client_bound=True)
        measured = measure(server.target, plan, measurement_options, server=server.info)
        problem = _problem(workload, measured)
        if problem is not None:
            server.check_alive()
            hint = f"\nWhat it printed is in {server.log_path}." if server.is_up else ""
            raise ServerError(f"{server.name}, {workload.name}: {problem}{hint}")
        return measured

    def _ratios(self, workload: Workload) -> list[PairedRatio]:
        """Of the pairs that are whole."""
        pairs: list[dict[str, Figures]] = [{} for _ in range(self._options.num_pairs)]
        for run in self._runs[workload.name]:
            pairs[run.setting["round"]][run.target] = run.figures
        whole = [
            {name: pair[name] for name in self._servers}
            for pair in pairs
            if len(pair) == len(self._servers)
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


def _problem(workload: Workload, measured: MeasuredRun) -> str | None:
    """Why the run is no measurement: every answer must have come, and be as long as was asked."""
    for record in measured.records:
        if record.failure is not None:
            return f"{measured.run.figures.num_failed} requests failed; the first: {record.error}"
        if record.num_output_tokens != workload.output_len:
            return (
                f"{workload.output_len} output tokens were asked for, usage says "
                f"{record.num_output_tokens}"
            )
        prompt_len = workload.prefix_len + workload.prompt_len
        if record.num_prompt_tokens not in (prompt_len, prompt_len + 1):  # some servers add a BOS
            return f"the prompt had {prompt_len} tokens, usage says {record.num_prompt_tokens}"
    return None


def _figures_table(workload: Workload, by_server: dict[str, list[Figures]]) -> Table:
    """Each server's median over the pairs, the least and the greatest in brackets; ms, not s."""
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


def _parse_server(text: str, options: Options) -> Server:
    name, is_named, written = text.partition("=")
    if not is_named or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise OptionError(
            f"--server takes name=command or name=http://host:port, not {hide_secrets(text)!r}"
        )
    log_path = options.output.with_name(f"{options.output.stem}.{name}.log")
    return Server(name, written.strip(), options.model, log_path)


def _parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--server",
        action="append",
        required=True,
        metavar="NAME=TARGET",
        help="a command with {port} in it, or http://host:port; give it once for each server, "
        "the others are compared with the first",
    )
    parser.add_argument("--model", help="its name in requests (default: first of /v1/models)")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="default: %(default)s")
    parser.add_argument("--pairs", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results/compare.json"),
        help="compare.json gives compare-W1.json and so on (default: %(default)s)",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start each server anew for each run, and have no other up meanwhile",
    )
    parser.add_argument("--vocab-size", type=int, default=49152, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="give another to draw other prompts")
    parser.add_argument("--start-timeout", type=float, default=600.0, metavar="S")
    parser.add_argument("--request-timeout", type=float, default=900.0, metavar="S")
    values = parser.parse_args(arguments)
    names = values.workloads.split(",")
    if unknown := [name for name in names if name not in WORKLOADS]:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    if values.pairs < 1:
        parser.error("--pairs must be 1 or more")
    if values.vocab_size <= FIRST_TOKEN_ID:
        parser.error(f"--vocab-size must be above {FIRST_TOKEN_ID}")
    if values.restart and any("=http" in text for text in values.server):
        parser.error("--restart needs commands: a server that runs already cannot be restarted")
    return Options(
        servers=tuple(values.server),
        model=values.model,
        workloads=tuple(WORKLOADS[name] for name in names),
        num_pairs=values.pairs,
        output=values.output,
        restart=values.restart,
        vocab_size=values.vocab_size,
        seed=values.seed,
        start_timeout_s=values.start_timeout,
        request_timeout_s=values.request_timeout,
    )


def main() -> int:
    options = _parse(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    for number in (signal.SIGTERM, signal.SIGHUP):  # they end it as Ctrl-C does: servers stopped
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
        say(f"\nAll figures are in {', '.join(map(str, comparison.written))}.")
    if problem:
        say(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
