"""Measure our gateway against nginx and LiteLLM's proxy, in one run, in interleaved rounds.

Run by hand: ``python benchmarks/gateway/compare.py --output FILE.json``; see README.md.
"""

import argparse
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from measures import AddedLatency, Memory, Throughput, added_latency, memory, throughput
from proxies import Headrace, LiteLlm, Mock, Nginx, Proxy

T = TypeVar("T")


class Options(msgspec.Struct, frozen=True):
    output: Path
    proxy_cores: str
    load_cores: str
    num_rounds: int
    seconds: float
    concurrency: int
    num_stream_rounds: int
    num_memory_requests: int
    litellm: Path | None


class Report(msgspec.Struct):
    began: str
    machine: str
    num_cores_note: str
    versions: dict[str, str] = {}
    throughput: dict[str, list[Throughput]] = {}
    """By proxy, one a round."""
    added_latency: dict[str, list[AddedLatency]] = {}
    memory: dict[str, Memory] = {}
    is_complete: bool = False


def main() -> int:
    options = _parse()
    report = Report(
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=platform.platform(),
        num_cores_note=f"proxies on core {options.proxy_cores}, load and upstreams on "
        f"{options.load_cores}",
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            _measure(options, Path(folder), report)
        report.is_complete = True
    finally:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
        print(show(report))
    return 0


def _parse() -> Options:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="every figure, as JSON")
    parser.add_argument("--proxy-cores", default="0", help="as taskset names them")
    parser.add_argument("--load-cores", default="1")
    parser.add_argument("--rounds", dest="num_rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load in a round")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument(
        "--stream-rounds",
        dest="num_stream_rounds",
        type=int,
        default=8,
        help="pairs of streams per concurrent client and round",
    )
    parser.add_argument("--memory-requests", dest="num_memory_requests", type=int, default=100_000)
    parser.add_argument(
        "--litellm", type=Path, default=None, help="a virtual environment with litellm[proxy]"
    )
    return Options(**vars(parser.parse_args()))


def _measure(options: Options, folder: Path, report: Report) -> None:
    kinds: list[type[Proxy]] = [Headrace, Nginx]
    if options.litellm is not None:
        LiteLlm.environment = options.litellm
        kinds.append(LiteLlm)
    report.versions = {kind.name: kind.version() for kind in kinds}
    with ExitStack() as stack:
        fast = Mock("fast", options.load_cores)
        stack.callback(fast.process.end)
        paced = Mock("paced", options.load_cores, "--tokens-per-s", "50")
        stack.callback(paced.process.end)
        upstreams = (fast.upstream, paced.upstream)

        @contextmanager
        def running(kind: type[Proxy]) -> Iterator[Proxy]:
            """Only one at a time: an idle proxy uses CPU time of its core too."""
            proxy = kind(upstreams, options.proxy_cores, folder)
            try:
                yield proxy
            finally:
                proxy.process.end()

        for number in range(options.num_rounds):
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                with running(kind) as proxy:
                    _say(f"round {number + 1}: {kind.name}")
                    measured = throughput(
                        proxy,
                        fast.upstream,
                        concurrency=options.concurrency,
                        seconds=options.seconds,
                        cores=options.load_cores,
                        folder=folder,
                    )
                    report.throughput.setdefault(kind.name, []).append(measured)
                    added = added_latency(
                        proxy,
                        paced.upstream,
                        paced.way,
                        concurrency=options.concurrency,
                        num_rounds=options.num_stream_rounds,
                        cores=options.load_cores,
                    )
                    report.added_latency.setdefault(kind.name, []).append(added)
        for kind in (Headrace, Nginx):
            with running(kind) as proxy:
                _say(f"memory: {kind.name}")
                report.memory[kind.name] = memory(
                    proxy,
                    fast.upstream,
                    concurrency=options.concurrency,
                    num_requests=options.num_memory_requests,
                    cores=options.load_cores,
                )


def show(report: Report) -> str:
    lines = [
        "| | requests/s | of headrace's | CPU a request "
        "| added p50 | added p99 | p50 of pairs | p99 of pairs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ours = report.throughput.get("headrace", [])
    for name, runs in report.throughput.items():
        added = report.added_latency.get(name, [])
        pairs = zip(runs, ours, strict=False)
        ratios = [theirs.requests_per_s / our.requests_per_s for theirs, our in pairs]
        lines.append(
            f"| {name} {report.versions.get(name, '')} "
            f"| {_middle(runs, lambda run: run.requests_per_s, '.0f')} "
            f"| {_middle(ratios, float, '.3f')} "
            f"| {_middle(runs, lambda run: run.cpu_us_per_request, '.1f')} µs "
            f"| {_middle(added, lambda run: run.total_p50_ms, '.2f')} ms "
            f"| {_middle(added, lambda run: run.total_p99_ms, '.2f')} ms "
            f"| {_middle(added, lambda run: run.pair_p50_ms, '.2f')} ms "
            f"| {_middle(added, lambda run: run.pair_p99_ms, '.2f')} ms |"
        )
    for name, kept in report.memory.items():
        shown = ", ".join(f"{rss:.1f}" for rss in kept.rss_mb)
        lines.append(
            f"\nMemory of {name} over {kept.num_requests} requests (MB): {shown}; "
            f"from the first tenth on {kept.growth_mb:+.2f} MB."
        )
    return "\n".join(lines)


def _middle(values: list[T], value: Callable[[T], float], form: str) -> str:
    """Median, minimum and maximum."""
    if not values:
        return "-"
    figures = [value(item) for item in values]
    middle, least, most = statistics.median(figures), min(figures), max(figures)
    return f"{middle:{form}} ({least:{form}}-{most:{form}})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
