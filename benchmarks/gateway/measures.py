"""Measurements of one proxy: requests per second, added latency, memory."""

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from load import Job, Outcome, Target, Timing
from proxies import Proxy, Upstream, Way

NUM_TOKENS = 16
STREAM_NUM_TOKENS = 20


class Throughput(msgspec.Struct, frozen=True):
    """Small responses, not streamed, at the maximum rate."""

    requests_per_s: float
    cpu_us_per_request: float
    """User and system time of the proxy."""


class AddedLatency(msgspec.Struct, frozen=True):
    """Streams through the proxy, less streams straight from the upstream in the same run.

    Two readings of it: quantiles of the differences, each taken within a pair (which has the noise
    of both its streams), and differences of the quantiles.
    """

    num_pairs: int
    pair_p50_ms: float
    pair_p99_ms: float
    total_p50_ms: float
    total_p99_ms: float
    first_byte_p50_ms: float
    first_byte_p99_ms: float


class Memory(msgspec.Struct, frozen=True):
    """Resident memory of the proxy at the start, and after each tenth of the requests."""

    num_requests: int
    rss_mb: tuple[float, ...]

    @property
    def growth_mb(self) -> float:
        """From the first tenth, when pools are full and pages touched, to the end."""
        return self.rss_mb[-1] - self.rss_mb[1]


def body(upstream: Upstream, num_tokens: int, *, is_stream: bool) -> str:
    message = {"role": "user", "content": "Say hello to the miller, please."}
    asked = {
        "model": upstream.name,
        "messages": [message],
        "max_tokens": num_tokens,
        "stream": is_stream,
    }
    return msgspec.json.encode(asked).decode()


def throughput(
    proxy: Proxy, upstream: Upstream, *, concurrency: int, seconds: float, cores: str, folder: Path
) -> Throughput:
    way = proxy.way(upstream)
    cpu_s = proxy.process.cpu_s()
    num, rate = _wrk(
        way, body(upstream, NUM_TOKENS, is_stream=False), concurrency, seconds, cores, folder
    )
    cpu_s = proxy.process.cpu_s() - cpu_s
    return Throughput(rate, cpu_s / num * 1e6)


def added_latency(
    proxy: Proxy, upstream: Upstream, direct: Way, *, concurrency: int, num_rounds: int, cores: str
) -> AddedLatency:
    text = body(upstream, STREAM_NUM_TOKENS, is_stream=True)
    through = proxy.way(upstream)
    targets = (Target(direct.port, direct.path, text), Target(through.port, through.path, text))
    outcome = run_load(Job(targets, concurrency, num_rounds), cores)
    straight, proxied = outcome.timings
    pairs = [
        (after.last_byte_s - before.last_byte_s) * 1000
        for before, after in zip(straight, proxied, strict=True)
    ]
    return AddedLatency(
        num_pairs=len(pairs),
        pair_p50_ms=quantile(pairs, 0.5),
        pair_p99_ms=quantile(pairs, 0.99),
        total_p50_ms=_added(straight, proxied, "last_byte_s", 0.5),
        total_p99_ms=_added(straight, proxied, "last_byte_s", 0.99),
        first_byte_p50_ms=_added(straight, proxied, "first_byte_s", 0.5),
        first_byte_p99_ms=_added(straight, proxied, "first_byte_s", 0.99),
    )


def memory(
    proxy: Proxy, upstream: Upstream, *, concurrency: int, num_requests: int, cores: str
) -> Memory:
    way = proxy.way(upstream)
    target = Target(way.port, way.path, body(upstream, NUM_TOKENS, is_stream=False))
    rss_mb = [proxy.process.rss_bytes() / 1e6]
    num_rounds = num_requests // 10 // concurrency + 1
    for _ in range(10):
        run_load(Job((target,), concurrency, num_rounds), cores)
        rss_mb.append(proxy.process.rss_bytes() / 1e6)
    return Memory(10 * num_rounds * concurrency, tuple(rss_mb))


def run_load(job: Job, cores: str) -> Outcome:
    script = str(Path(__file__).with_name("load.py"))
    encoded = msgspec.json.encode(job).decode()
    with tempfile.NamedTemporaryFile() as output:
        command = (sys.executable, script, encoded, output.name)
        shown = subprocess.run(("taskset", "-c", cores, *command), capture_output=True)
        if shown.returncode != 0:
            raise RuntimeError(f"The load failed:\n{shown.stderr.decode(errors='replace')}")
        return msgspec.json.decode(output.read(), type=Outcome)


def quantile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


def _added(
    straight: tuple[Timing, ...], proxied: tuple[Timing, ...], field: str, share: float
) -> float:
    before = quantile([getattr(timing, field) for timing in straight], share)
    return (quantile([getattr(timing, field) for timing in proxied], share) - before) * 1000


def _wrk(
    way: Way, text: str, concurrency: int, seconds: float, cores: str, folder: Path
) -> tuple[int, float]:
    """Completed requests, and requests per second."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is not installed (Debian: apt-get install wrk).")
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = [[{text}]]\n"
        "wrk.headers['Content-Type'] = 'application/json'\n"
    )
    command = (program, "-t1", f"-c{concurrency}", f"-d{seconds:g}s", "-s", str(script), way.url)
    shown = subprocess.check_output(("taskset", "-c", cores, *command), text=True)
    if "Non-2xx" in shown:
        raise RuntimeError(f"Not every answer was a success:\n{shown}")
    num = re.search(r"(\d+) requests in", shown)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", shown)
    assert num is not None
    assert rate is not None
    return int(num[1]), float(rate[1])
