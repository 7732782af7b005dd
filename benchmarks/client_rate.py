"""The maximum rate of `headrace bench`'s load generator, against a mock server.

The mock server runs on one core and the client on another. If the mock is slower, the client's
limit is its rate divided by its CPU share; both are shown.

With ``--vllm PATH``, ``vllm bench serve`` sends the same requests from the same core in interleaved
pairs, and the ratio is shown. It always streams, so only streamed cases are compared.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from cross_check import Setting, run_vllm

from headrace.bench.figures.pairing import bootstrap_median, turn_order
from headrace.bench.load import event_loop
from headrace.bench.load.arrivals import ClosedLoop
from headrace.bench.load.load_generator import run_load
from headrace.bench.records import BenchTarget, PlannedRequest
from headrace.bench.results.machine import describe_machine, describe_versions
from headrace.testing.processes.replica_process import MockServerProcess

PROMPT = "Singapore is a city and a country"
"""``vllm bench serve`` skips prompts of fewer than four tokens."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    is_streamed: bool
    num_requests: int
    max_tokens: int
    concurrency: int
    tokens_per_s: float = 0.0
    """The mock's rate in each stream; 0: unlimited, with many events in one packet."""


@dataclass(frozen=True, slots=True)
class MeasuredRun:
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


@dataclass(frozen=True, slots=True)
class Paired:
    """A case with both clients, interleaved."""

    name: str
    headrace_requests_per_s: list[float]
    """By pair."""
    vllm_requests_per_s: list[float]

    @property
    def ratios(self) -> list[float]:
        """Headrace to vLLM, within each pair."""
        pairs = zip(self.headrace_requests_per_s, self.vllm_requests_per_s, strict=True)
        return [ours / theirs for ours, theirs in pairs]


CASES = (
    Case("requests, not streamed", False, 20_000, 1, 32),
    Case("requests, short streams", True, 10_000, 4, 32),
    Case("chunks, unpaced", True, 2_000, 256, 32),
    Case("chunks, one a packet", True, 1_024, 512, 256, tokens_per_s=500.0),
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    os.sched_setaffinity(0, {options.client_core})  # inherited by its child processes
    cases = [
        replace(case, num_requests=min(case.num_requests, options.max_num_requests))
        for case in CASES
        if case.is_streamed or not options.vllm
    ]
    results: list[MeasuredRun] | list[Paired]
    if options.vllm:
        results = [_compare_with_vllm(case, options) for case in cases]
        is_good = all(median(each.ratios) >= 1 for each in results)
    else:
        results = [_fastest(case, options) for case in cases]
        is_good = not any(each.num_failed for each in results)
    if options.output:
        document = {
            "machine": asdict(describe_machine()),
            "versions": describe_versions(),
            "cases": [asdict(each) for each in results],
        }
        options.output.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if is_good else 1


def _fastest(case: Case, options: argparse.Namespace) -> MeasuredRun:
    with _mock_server(options.server_core, case.tokens_per_s) as base_url:
        runs = [_measure(case, base_url, options.endpoint) for _ in range(options.repeat)]
    fastest = max(runs, key=lambda run: run.requests_per_s)
    _show(fastest, case.is_streamed)
    return fastest


def _compare_with_vllm(case: Case, options: argparse.Namespace) -> Paired:
    rates: dict[str, list[float]] = {"headrace": [], "vllm": []}
    with _mock_server(options.server_core, case.tokens_per_s) as base_url:
        _measure_without_failures(case, base_url)  # warm up the new mock
        for pair in range(options.pairs):
            for name in turn_order(list(rates), pair):
                print(f"{case.name}, pair {pair + 1}: {name} ...", file=sys.stderr, flush=True)
                if name == "headrace":
                    rates[name].append(_measure_without_failures(case, base_url).requests_per_s)
                else:
                    rates[name].append(_vllm_requests_per_s(case, base_url, options))
    paired = Paired(case.name, rates["headrace"], rates["vllm"])
    _show_paired(paired)
    return paired


def _measure_without_failures(case: Case, base_url: str) -> MeasuredRun:
    measured = _measure(case, base_url, "completions")
    if measured.num_failed:
        sys.exit(f"{measured.num_failed} of {measured.num_requests} requests to the mock failed.")
    return measured


def _vllm_requests_per_s(case: Case, base_url: str, options: argparse.Namespace) -> float:
    """By its own clock, from its first request to its last response, without its startup."""
    setting = Setting(
        base_url=base_url,
        model="mock",
        tokenizer=options.tokenizer,
        num_prompts=case.num_requests,
        input_words=len(PROMPT.split()),
        output_len=case.max_tokens,
        concurrency=case.concurrency,
        num_warm_ups=case.concurrency,
    )
    with tempfile.TemporaryDirectory() as folder:
        seen = run_vllm(options.vllm, setting, [PROMPT] * case.num_requests, Path(folder))
    wanted = case.num_requests * case.max_tokens
    if seen.num_output_tokens != wanted:
        sys.exit(f"vllm bench serve reports {seen.num_output_tokens} tokens, not {wanted}.")
    return seen.output_tokens_per_s / case.max_tokens


def _measure(case: Case, base_url: str, endpoint: str) -> MeasuredRun:
    planned = PlannedRequest(
        max_tokens=case.max_tokens,
        prompt=PROMPT if endpoint == "completions" else None,
        messages=({"role": "user", "content": PROMPT},) if endpoint == "chat" else None,
    )
    result = event_loop.run(
        run_load(
            BenchTarget("mock", base_url, "mock"),
            [planned] * case.num_requests,
            ClosedLoop(case.concurrency),
            is_streamed=case.is_streamed,
            endpoint=endpoint,
            num_warm_ups=case.concurrency,
            timeout_s=60.0,
        )
    )
    return MeasuredRun(
        name=case.name,
        num_requests=len(result.records),
        num_failed=sum(not record.is_successful for record in result.records),
        requests_per_s=len(result.records) / result.duration_s,
        chunks_per_s=sum(len(r.chunk_times_s) for r in result.records) / result.duration_s,
        client_cpu_share=result.client.cpu_share,
        loop_lag_p99_ms=result.client.loop_lag_p99_s * 1000,
    )


def _show(one: MeasuredRun, is_streamed: bool) -> None:
    line = (
        f"{one.name:26} {one.requests_per_s:9,.0f} requests/s "
        f"({one.requests_per_s_of_core:,.0f} per core)"
    )
    if is_streamed:
        line += f", {one.chunks_per_s:,.0f} chunks/s ({one.chunks_per_s_of_core:,.0f})"
    line += f"; client at {one.client_cpu_share:.0%}, loop lag p99 {one.loop_lag_p99_ms:.1f} ms"
    print(line + (f"; {one.num_failed} FAILED" if one.num_failed else ""), flush=True)


def _show_paired(paired: Paired) -> None:
    ratios = paired.ratios
    interval = bootstrap_median(ratios)
    shown = "" if interval is None else f", 95 % {interval[0]:.2f} to {interval[1]:.2f}"
    print(
        f"{paired.name:26} headrace / vllm {median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}{shown}); requests/s, median: "
        f"{median(paired.headrace_requests_per_s):,.0f} and "
        f"{median(paired.vllm_requests_per_s):,.0f}",
        flush=True,
    )


@contextmanager
def _mock_server(core: int, tokens_per_s: float) -> Iterator[str]:
    with MockServerProcess("--tokens-per-s", str(tokens_per_s)) as mock:
        os.sched_setaffinity(mock.pid, {core})
        yield f"http://127.0.0.1:{mock.port}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure the load generator by itself, against a mock server."
    )
    parser.add_argument("--client-core", type=int, default=0)
    parser.add_argument("--server-core", type=int, default=1)
    parser.add_argument("--endpoint", choices=("completions", "chat"), default="completions")
    parser.add_argument("--repeat", type=int, default=3, help="the fastest run counts")
    parser.add_argument("--max-num-requests", type=int, default=20_000, help="of each case")
    parser.add_argument("--vllm", help="path of the vllm command: compare with it, in pairs")
    parser.add_argument("--tokenizer", help="folder of a tokenizer, which vllm wants")
    parser.add_argument("--pairs", type=int, default=6, help="with --vllm")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args(arguments)
    if options.vllm and not options.tokenizer:
        parser.error("--vllm needs --tokenizer DIR.")
    if options.vllm and options.endpoint != "completions":
        parser.error("--vllm compares on completions.")
    return options


if __name__ == "__main__":
    sys.exit(main())
