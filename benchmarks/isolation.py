"""How failing revisions affect a healthy one, and the CPU use of the idle platform.

Starts ``headrace up`` in a temporary home with one healthy revision of one replica, and sends it a
few short requests per second through the gateway, in interleaved rounds: alone, and beside three
failing revisions:

- one whose command exits at once (a crash loop),
- one that cannot be launched,
- one whose server exits on any POST, to which such requests are sent steadily.

Reports the healthy one's latency with neighbours as a ratio to alone, within each round; the share
of a core that gateway, control plane and supervisor use without load, with and without the
neighbours; and how often the failing ones were started. Exit code 1 if the median ratio of p99 or
the idle share is above its limit, or a request to the healthy revision failed.

    python benchmarks/isolation.py --rounds 6 --output results/isolation.json
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from bad_neighbours import START_TIMEOUT_S, Neighbours
from rich.console import Console
from rich.table import Table
from servers import say

from headrace.bench.figures.pairing import bootstrap_median, turn_order
from headrace.bench.http.server_info import find_target
from headrace.bench.load.arrivals import RatedArrivals
from headrace.bench.measurement import MeasurementOptions, RunPlan, measure
from headrace.bench.records import BenchTarget
from headrace.bench.results.destination import check_can_be_written
from headrace.bench.results.machine import describe_machine, describe_versions
from headrace.bench.results.measured_run import MeasuredRun
from headrace.bench.results.output_file import write_text
from headrace.bench.workloads.factory import load_workload
from headrace.bench.workloads.options import WorkloadOptions
from headrace.core.home import headrace_home
from headrace.testing.processes.platform_process import PlatformProcess

MAX_P99_RATIO = 1.5
MAX_IDLE_PERCENT = 3.0
STATES = ("alone", "with neighbours")
GOOD = "good"
DAEMONS = ("gateway", "control", "supervisor")


@dataclass(frozen=True)
class Options:
    model: str
    num_rounds: int
    load_s: float
    idle_s: float
    settle_s: float
    request_rate: float
    poison_rate: float
    input_len: int
    output_len: int
    seed: int
    output: Path | None
    keeps_home: bool


@dataclass(frozen=True)
class Load:
    """The healthy revision under its steady load, in one state of one round."""

    round: int
    state: str
    num_requests: int
    num_failed: int
    latency_p50_s: float | None
    latency_p99_s: float | None
    ttft_p99_s: float | None
    poison: dict[str, int] = field(default_factory=dict)
    """The outcomes of the poisoned requests, by status or kind of failure."""


@dataclass(frozen=True)
class Idle:
    """Percent of one core without load, by process."""

    state: str
    seconds: float
    percent: dict[str, float]

    @property
    def total_percent(self) -> float:
        return sum(self.percent.values())


class Isolation:
    """All rounds in one platform, which is always stopped at the end."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self.loads: list[Load] = []
        self.idles: list[Idle] = []
        self.counts: dict[str, dict[str, int]] = {}

    def run(self) -> None:
        home = self._folder / "home"
        home.mkdir()
        for name in ("models", "cache"):  # so that nothing is downloaded or compiled again
            if (headrace_home() / name).is_dir():
                (home / name).symlink_to((headrace_home() / name).absolute())
        platform = PlatformProcess(home, "--no-containers", cwd=self._folder)
        with platform:
            say("starting the healthy revision")
            target = self._start_good(platform)
            neighbours = Neighbours(platform, self._folder)
            current = STATES[0]
            for number in range(self._options.num_rounds):
                for state in turn_order(STATES, number):
                    if state != current:
                        self._change(neighbours, state)
                        current = state
                    self.loads.append(self._load(platform, target, number, state))
            for state in turn_order(STATES, STATES.index(current)):
                if state != current:
                    self._change(neighbours, state)
                    current = state
                self.idles.append(self._idle(platform, state))
            self.counts = neighbours.counts()

    def _start_good(self, platform: PlatformProcess) -> BenchTarget:
        manifest = f"model: {self._options.model}\nautoscaling: {{min: 1, max: 1}}\n"
        gateway = "enabled: true\ntargets: [{number: 1, port: 8000, weight: 100}]\n"
        for name, text in (("good", manifest), ("good-gateway", gateway)):
            (self._folder / f"{name}.yaml").write_text(text)
        platform.run("service", "create", GOOD)
        platform.run("revision", "create", "-s", GOOD, "-f", "good.yaml")
        platform.run("gateway", "update", "-s", GOOD, "-f", "good-gateway.yaml")
        platform.wait_running(GOOD, 1, START_TIMEOUT_S)
        target = find_target(f"{platform.url}/{GOOD}", None, name=GOOD)
        self._send(target, seed=-1, num_requests=4)
        return target

    def _change(self, neighbours: Neighbours, state: str) -> None:
        say(f"now {state}")
        if state == STATES[0]:
            neighbours.remove()
        else:
            neighbours.add()
        time.sleep(self._options.settle_s)
        neighbours.record_folders()

    def _load(
        self, platform: PlatformProcess, target: BenchTarget, number: int, state: str
    ) -> Load:
        num_requests = max(1, round(self._options.load_s * self._options.request_rate))
        with self._poisoning(platform, state) as poison:
            # The same prompts in both states of a round, and new ones in each round.
            measured = self._send(target, number, num_requests, salt=state)
        figures = measured.run.figures
        load = Load(
            round=number,
            state=state,
            num_requests=figures.num_requests,
            num_failed=figures.num_failed,
            latency_p50_s=None if figures.latency_s is None else figures.latency_s.p50,
            latency_p99_s=None if figures.latency_s is None else figures.latency_s.p99,
            ttft_p99_s=None if figures.ttft_s is None else figures.ttft_s.p99,
            poison=poison,
        )
        say(f"round {number + 1}, {state}: {_milliseconds(load.latency_p99_s)} ms p99")
        return load

    def _send(
        self, target: BenchTarget, seed: int, num_requests: int, salt: str = ""
    ) -> MeasuredRun:
        options = self._options
        workload = load_workload(
            WorkloadOptions(
                "random",
                num_prompts=num_requests,
                seed=options.seed + seed + 1,
                endpoint="chat",
                input_len=options.input_len,
                output_len=options.output_len,
            )
        )
        plan = RunPlan(
            workload=workload,
            arrivals=RatedArrivals(options.request_rate, burstiness=float("inf")),
            endpoint="chat",
            extra_body={"temperature": 0, "cache_salt": f"{salt}-{seed}-{time.time_ns()}"},
        )
        return measure(
            target, plan, MeasurementOptions(allow_client_bound=True, watches_memory=False)
        )

    @contextmanager
    def _poisoning(self, platform: PlatformProcess, state: str) -> Iterator[dict[str, int]]:
        """Poisoned requests at a steady rate, from a separate process."""
        outcomes: dict[str, int] = {}
        if state == STATES[0]:
            yield outcomes
            return
        output = self._folder / "poison.json"
        output.unlink(missing_ok=True)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "headrace", "bench", "load", "--model", "poisoned"),
                *("--base-url", f"{platform.url}/poisoned", "--num-warm-ups", "0"),
                *("--request-rate", str(self._options.poison_rate), "-n", "100000"),
                *("--timeout-s", "5", "-c", "1000", "--max-tokens", "1", "--no-watch-memory"),
                *("--allow-client-bound", "--output", str(output)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield outcomes
        finally:
            process.send_signal(signal.SIGINT)  # completed requests are written
            process.wait()
        if output.exists():
            figures = json.loads(output.read_text())["runs"][0]["figures"]
            outcomes |= {f"HTTP {status}": num for status, num in figures["statuses"].items()}
            outcomes |= figures["failures"]

    def _idle(self, platform: PlatformProcess, state: str) -> Idle:
        say(f"idle, {state}")
        before = _cpu_s(platform)
        began_s = time.monotonic()
        time.sleep(self._options.idle_s)
        seconds = time.monotonic() - began_s
        after = _cpu_s(platform)
        percent = {
            name: max(0.0, after[name] - before[name]) / seconds * 100
            for name in DAEMONS
            if name in before and name in after
        }
        return Idle(state, seconds, percent)


def _cpu_s(platform: PlatformProcess) -> dict[str, float]:
    """CPU seconds so far, without those of the replicas, which are separate processes."""
    found = {}
    for name in DAEMONS:
        try:
            times = psutil.Process(platform.pid_of(name)).cpu_times()
        except (OSError, psutil.Error):
            continue
        found[name] = times.user + times.system
    return found


def ratios_of(loads: Sequence[Load], name: str) -> list[float]:
    """Ratios of with neighbours to alone, of each round that has both."""
    by_round: dict[int, dict[str, float]] = {}
    for load in loads:
        if (value := getattr(load, name)) is not None:
            by_round.setdefault(load.round, {})[load.state] = value
    alone, beside = STATES
    return [each[beside] / each[alone] for each in by_round.values() if len(each) == len(STATES)]


def report(isolation: Isolation) -> bool:
    """Print the tables; whether all limits hold."""
    # Piped, a table is as wide as its content, so that nothing is cut.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("round", "state", "requests", "failed", "p50, ms", "p99, ms", "TTFT p99, ms"):
        table.add_column(column, justify="left" if column == "state" else "right")
    table.add_column("poisoned requests")
    for load in isolation.loads:
        poison = ", ".join(f"{num} x {kind}" for kind, num in load.poison.items())
        times = (load.latency_p50_s, load.latency_p99_s, load.ttft_p99_s)
        counts = (str(load.num_requests), str(load.num_failed))
        table.add_row(
            str(load.round + 1), load.state, *counts, *map(_milliseconds, times), poison or "-"
        )
    console.print(table)

    is_good = not any(load.num_failed for load in isolation.loads)
    console.print("\nwith neighbours / alone, within each round:")
    for name, label in (("latency_p50_s", "latency p50"), ("latency_p99_s", "latency p99")):
        ratios = ratios_of(isolation.loads, name)
        if not ratios:
            is_good = False
            continue
        interval = bootstrap_median(ratios)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        more = "" if interval is None else f", 95 % {interval[0]:.2f} to {interval[1]:.2f}"
        console.print(f"  {label}: {median(ratios):.2f} ({spread}{more})")
        if name == "latency_p99_s":
            is_good &= median(ratios) <= MAX_P99_RATIO

    console.print("\nshare of a core without load:")
    for idle in isolation.idles:
        parts = ", ".join(f"{name} {value:.2f} %" for name, value in idle.percent.items())
        shares = f"{idle.state}: {idle.total_percent:.2f} % ({parts})"
        console.print(f"  {shares} in {idle.seconds:.0f} s")
        is_good &= idle.total_percent <= MAX_IDLE_PERCENT

    console.print("\nstarts of the failing revisions:")
    for name, count in isolation.counts.items():
        folders, events = count["num_folders"], count["num_started_events"]
        console.print(f"  {name}: {folders} replica folders, {events} starts in the events")
    limits = f"p99 at most {MAX_P99_RATIO} times, idle at most {MAX_IDLE_PERCENT:g} %, none failed"
    console.print(f"\n{'within' if is_good else 'NOT within'} the limits: {limits}")
    return is_good


def document_of(isolation: Isolation, options: Options, is_good: bool) -> dict[str, Any]:
    return {
        "command": ["benchmarks/isolation.py", *sys.argv[1:]],
        "machine": asdict(describe_machine()),
        "versions": describe_versions(),
        "setting": {**asdict(options), "output": str(options.output)},
        "loads": [asdict(load) for load in isolation.loads],
        "p50_ratios": ratios_of(isolation.loads, "latency_p50_s"),
        "p99_ratios": ratios_of(isolation.loads, "latency_p99_s"),
        "idle": [{**asdict(idle), "total_percent": idle.total_percent} for idle in isolation.idles],
        "starts": isolation.counts,
        "limits": {"p99_ratio": MAX_P99_RATIO, "idle_percent": MAX_IDLE_PERCENT},
        "is_within_limits": is_good,
    }


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def _parse() -> Options:
    parser = argparse.ArgumentParser(description="Measure a healthy revision beside failing ones.")
    parser.add_argument("--model", default="smollm2-135m", help="of the healthy revision")
    parser.add_argument("--rounds", dest="num_rounds", type=int, default=6)
    parser.add_argument("--load-s", type=float, default=30.0, help="of each state in each round")
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--settle-s", type=float, default=10.0, help="after each change of state")
    parser.add_argument(
        "--request-rate",
        type=float,
        default=3.0,
        help="requests per second to the healthy revision",
    )
    parser.add_argument(
        "--poison-rate", type=float, default=1.0, help="poisoned requests per second"
    )
    parser.add_argument("--input-len", type=int, default=32)
    parser.add_argument("--output-len", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write everything to this JSON file")
    parser.add_argument("--keep-home", dest="keeps_home", action="store_true")
    return Options(**vars(parser.parse_args()))


def main() -> int:
    options = _parse()
    if options.output is not None:
        check_can_be_written(options.output)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored in background jobs of a shell
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    folder = Path(tempfile.mkdtemp(prefix="headrace-isolation-"))
    isolation = Isolation(options, folder)
    is_whole = False
    try:
        isolation.run()
        is_whole = True
    finally:  # completed measurements are always reported
        is_good = report(isolation)
        if options.output is not None:
            document = document_of(isolation, options, is_good)
            write_text(options.output, json.dumps(document, indent=2) + "\n")
        if options.keeps_home:
            say(f"the home is in {folder}")
        else:
            shutil.rmtree(folder)
    return 0 if is_good and is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
