"""How fast the load generator of `headrace bench` is by itself, against a server that does nothing.

The mock server runs on one core and the client on another. Where the mock is the slower of the two,
the client's own limit is its rate by the share of its core that it used; both are shown.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from headrace.bench import event_loop
from headrace.bench.arrivals import ClosedLoop
from headrace.bench.load_generator import run_load
from headrace.bench.records import PlannedRequest, Target


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    is_streamed: bool
    num_requests: int
    max_tokens: int
    concurrency: int
    tokens_per_s: float = 0.0
    """The mock's pace in each stream; 0 is as fast as it can, many events in one packet."""


@dataclass(frozen=True, slots=True)
class Measured:
    name: str
    num_requests: int
    num_failed: int
    requests_per_s: float
    chunks_per_s: float
    client_cpu_share: float
    loop_lag_p99_ms: float

    @property
    def requests_per_s_of_core(self) -> float:
        return self.requests_per_s / self.client_cpu_share

    @property
    def chunks_per_s_of_core(self) -> float:
        return self.chunks_per_s / self.client_cpu_share


CASES = (
    Case("requests, whole answers", False, 20_000, 1, 32),
    Case("requests, short streams", True, 10_000, 4, 32),
    Case("chunks, unpaced", True, 2_000, 256, 32),
    Case("chunks, one a packet", True, 1_024, 512, 256, tokens_per_s=500.0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    os.sched_setaffinity(0, {options.client_core})
    measured = []
    for case in CASES:
        with _mock_server(options.server_core, case.tokens_per_s) as base_url:
            runs = [_measure(case, base_url, options.endpoint) for _ in range(options.repeat)]
        measured.append(max(runs, key=lambda run: run.requests_per_s))
        _show(measured[-1], case.is_streamed)
    if options.output:
        with open(options.output, "w") as file:
            json.dump([asdict(one) for one in measured], file, indent=2)
    return 1 if any(one.num_failed for one in measured) else 0


def _measure(case: Case, base_url: str, endpoint: str) -> Measured:
    planned = PlannedRequest(
        max_tokens=case.max_tokens,
        prompt="Singapore is a" if endpoint == "completions" else None,
        messages=({"role": "user", "content": "Singapore is a"},) if endpoint == "chat" else None,
    )
    result = event_loop.run(
        run_load(
            Target("mock", base_url, "mock"),
            [planned] * case.num_requests,
            ClosedLoop(case.concurrency),
            is_streamed=case.is_streamed,
            endpoint=endpoint,
            num_warm_ups=case.concurrency,
            timeout_s=60.0,
        )
    )
    return Measured(
        name=case.name,
        num_requests=len(result.records),
        num_failed=sum(not record.is_successful for record in result.records),
        requests_per_s=len(result.records) / result.duration_s,
        chunks_per_s=sum(len(r.chunk_times_s) for r in result.records) / result.duration_s,
        client_cpu_share=result.client.cpu_share,
        loop_lag_p99_ms=result.client.loop_lag_p99_s * 1000,
    )


def _show(one: Measured, is_streamed: bool) -> None:
    line = (
        f"{one.name:26} {one.requests_per_s:9,.0f} requests/s "
        f"({one.requests_per_s_of_core:,.0f} of a whole core)"
    )
    if is_streamed:
        line += f", {one.chunks_per_s:,.0f} chunks/s ({one.chunks_per_s_of_core:,.0f})"
    line += f"; client at {one.client_cpu_share:.0%}, loop lag p99 {one.loop_lag_p99_ms:.1f} ms"
    print(line + (f"; {one.num_failed} FAILED" if one.num_failed else ""), flush=True)


@contextmanager
def _mock_server(core: int, tokens_per_s: float) -> Iterator[str]:
    process = subprocess.Popen(
        [
            *("taskset", "-c", str(core)),
            *(sys.executable, "-m", "headrace.testing.mock_server", "--port", "0"),
            *("--tokens-per-s", str(tokens_per_s)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.split(" at ")[1].strip()
    finally:
        process.terminate()
        process.wait()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client-core", type=int, default=0)
    parser.add_argument("--server-core", type=int, default=1)
    parser.add_argument("--endpoint", choices=("completions", "chat"), default="completions")
    parser.add_argument("--repeat", type=int, default=3, help="the fastest run counts")
    parser.add_argument("--output", help="a JSON file for the figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
