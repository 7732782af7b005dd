"""The cost of the gateway's HTTP/1.1 code, compared with a minimal gateway on aiohttp.

The same mock server is behind both. The aiohttp gateway only forwards: it has no routes, retries,
queues, keys or metrics, so it is a lower bound for a gateway on aiohttp. In interleaved
pairs this measures, for each,

- CPU time per request: whole responses, not streamed, many connections;
- CPU time per streamed chunk: paced streams, one chunk a packet, minus the cost of the requests;
- added latency: one request at a time, in turns with the same request sent to the mock directly.

CPU time is that of the gateway's process, user and system. The gateway has one core to itself, load
and mock share another one.

    python benchmarks/gateway_protocol.py --pairs 10 --output results/gateway_protocol.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

import psutil
import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from headrace.bench.figures.pairing import bootstrap_median, turn_order
from headrace.bench.results.machine import describe_machine, describe_versions
from headrace.core.gateway.routes import ReplicaRoute, ServiceRoute, TargetRoute
from headrace.http1.connection import HttpConnection, ResponseHead
from headrace.testing.processes.announced_process import AnnouncedProcess
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess

GATEWAYS = ("headrace", "aiohttp")
SERVICE = "mock"
HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The amount of work of one measurement."""

    num_requests: int = 20_000
    num_streams: int = 256
    num_tokens: int = 256
    """Of each stream."""
    tokens_per_s: float = 50.0
    """Of each stream; slow enough that chunks arrive one by one."""
    concurrency: int = 64
    num_latencies: int = 1_000


SMOKE = Sizes(
    num_requests=40,
    num_streams=4,
    num_tokens=8,
    tokens_per_s=200.0,
    concurrency=4,
    num_latencies=10,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """One measurement of one gateway."""

    cpu_us_per_request: float
    cpu_us_per_chunk: float
    added_latency_us: float
    """Median of the differences to the same request without a gateway."""


@dataclass(frozen=True, slots=True)
class Load:
    num_requests: int
    num_chunks: int
    latencies_s: list[float]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    if options.serve_aiohttp is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_aiohttp(options.serve_aiohttp))
        return 0
    sizes = SMOKE if options.smoke else Sizes()
    pairs = 1 if options.smoke else options.pairs
    cores = _cores(options)
    costs: dict[str, list[Cost]] = {name: [] for name in GATEWAYS}
    with _started(sizes.tokens_per_s, cores) as (gateways, mock):
        for name in GATEWAYS:  # the first requests are slow
            _measure(gateways[name], mock, SMOKE)
        for pair in range(pairs):
            for name in turn_order(GATEWAYS, pair):
                print(f"pair {pair + 1} of {pairs}: {name} ...", file=sys.stderr, flush=True)
                costs[name].append(_measure(gateways[name], mock, sizes))
    _show(costs)
    if options.output:
        document = {
            "machine": asdict(describe_machine()),
            "versions": describe_versions(),
            "sizes": asdict(sizes),
            "costs": {name: [asdict(cost) for cost in costs[name]] for name in GATEWAYS},
        }
        options.output.write_text(json.dumps(document, indent=2) + "\n")
    return 0


@dataclass(frozen=True, slots=True)
class _Gateway:
    port: int
    path: str
    process: psutil.Process

    @property
    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system


@dataclass(frozen=True, slots=True)
class _Mocks:
    unpaced_port: int
    paced_port: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """One gateway in front of each mock server."""

    unpaced: _Gateway
    paced: _Gateway


@contextmanager
def _started(
    tokens_per_s: float, cores: Sequence[int] | None
) -> Iterator[tuple[dict[str, _Pair], _Mocks]]:
    with ExitStack() as stack:
        if cores is not None:
            os.sched_setaffinity(0, {cores[1]})  # for the load; processes start there too
        unpaced = stack.enter_context(MockServerProcess(name="unpaced"))
        paced = stack.enter_context(
            MockServerProcess("--tokens-per-s", str(tokens_per_s), name="paced")
        )
        ports = (unpaced.port, paced.port)
        headrace = [_start_headrace(stack, port) for port in ports]
        plain = [_start_aiohttp(stack, port) for port in ports]
        if cores is not None:
            for gateway in (*headrace, *plain):
                gateway.process.cpu_affinity([cores[0]])
        yield {"headrace": _Pair(*headrace), "aiohttp": _Pair(*plain)}, _Mocks(*ports)


def _start_headrace(stack: ExitStack, upstream_port: int) -> _Gateway:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    process = stack.enter_context(GatewayProcess(folder))
    replica = ReplicaRoute("mock", "127.0.0.1", upstream_port)
    process.follow(ServiceRoute(SERVICE, True, (TargetRoute(1, 3000, 100, (replica,)),)))
    return _Gateway(process.port, f"/{SERVICE}", psutil.Process(process.pid))


def _start_aiohttp(stack: ExitStack, upstream_port: int) -> _Gateway:
    command = (sys.executable, __file__, "--serve-aiohttp", str(upstream_port))
    process = stack.enter_context(AnnouncedProcess(command, r"aiohttp gateway at port (\d+)$"))
    return _Gateway(int(process.found[0]), "", psutil.Process(process.pid))


def _measure(pair: _Pair, mocks: _Mocks, sizes: Sizes) -> Cost:
    gateway = pair.unpaced
    before_s = gateway.cpu_s
    load = _run(gateway.port, gateway.path, sizes.num_requests, sizes.concurrency, num_tokens=1)
    request_s = (gateway.cpu_s - before_s) / load.num_requests

    streaming = pair.paced
    before_s = streaming.cpu_s
    streams = _run(
        streaming.port,
        streaming.path,
        sizes.num_streams,
        sizes.concurrency,
        num_tokens=sizes.num_tokens,
        is_streamed=True,
    )
    stream_s = streaming.cpu_s - before_s - request_s * streams.num_requests
    direct, through = [], []
    for _ in range(10):
        count = max(1, sizes.num_latencies // 10)
        direct += _run(mocks.unpaced_port, "", count, 1, num_tokens=1).latencies_s
        through += _run(gateway.port, gateway.path, count, 1, num_tokens=1).latencies_s
    return Cost(
        cpu_us_per_request=request_s * 1e6,
        cpu_us_per_chunk=stream_s / streams.num_chunks * 1e6,
        added_latency_us=(median(through) - median(direct)) * 1e6,
    )


def _run(
    port: int,
    path: str,
    num_requests: int,
    concurrency: int,
    *,
    num_tokens: int,
    is_streamed: bool = False,
) -> Load:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_load(port, path, num_requests, concurrency, num_tokens, is_streamed))


async def _load(
    port: int, path: str, num_requests: int, concurrency: int, num_tokens: int, is_streamed: bool
) -> Load:
    body = json.dumps(
        {
            "model": "mock",
            "messages": [{"role": "user", "content": "Singapore is a city and a country"}],
            "max_tokens": num_tokens,
            "stream": is_streamed,
        }
    ).encode()
    request = (
        f"POST {path}/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
    left = iter(range(num_requests))
    clients = [_Client(request) for _ in range(min(concurrency, num_requests))]
    await asyncio.gather(*(client.run(port, left) for client in clients))
    latencies_s = [latency for client in clients for latency in client.latencies_s]
    return Load(len(latencies_s), sum(client.num_chunks for client in clients), latencies_s)


class _Client:
    """Sends requests one after the other over one connection."""

    is_head_request = False

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._done: asyncio.Future[None] | None = None
        self.num_chunks = 0
        self.latencies_s: list[float] = []

    async def run(self, port: int, left: Iterator[int]) -> None:
        loop = asyncio.get_running_loop()
        connection: HttpConnection[ResponseHead] | None = None
        for _ in left:
            if connection is None or not connection.is_usable:
                _, connection = await loop.create_connection(
                    lambda: HttpConnection(ResponseHead, lambda _: None, time.perf_counter),
                    "127.0.0.1",
                    port,
                )
            self._done = loop.create_future()
            began_s = time.perf_counter()
            connection.send(self, self._request)
            await self._done
            self.latencies_s.append(connection.received_at - began_s)
        if connection is not None:
            connection.close()

    def on_response(self, head: ResponseHead | None, body: list[bytes], is_complete: bool) -> None:
        if head is not None and head.status != 200:
            self._fail(f"status {head.status}: {b''.join(body)!r}")
        self.num_chunks += sum(part.count(b"data:") for part in body)
        if is_complete and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def on_response_cut(self, error: Exception | None) -> None:
        self._fail(f"the connection was closed: {error}")

    def _fail(self, reason: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(RuntimeError(f"A request failed: {reason}"))


async def _serve_aiohttp(upstream_port: int) -> None:
    """A gateway that forwards everything to one upstream, until it is terminated."""
    upstream = f"http://127.0.0.1:{upstream_port}"
    connector = TCPConnector(limit=0)
    async with ClientSession(
        connector=connector, timeout=ClientTimeout(total=None), auto_decompress=False
    ) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
            headers["x-forwarded-for"] = request.remote or "unknown"
            body = await request.read()
            async with session.request(
                request.method,
                upstream + request.path_qs,
                headers=headers,
                data=body,
                allow_redirects=False,
            ) as reply:
                kept = {k: v for k, v in reply.headers.items() if k.lower() not in HOP_BY_HOP}
                response = web.StreamResponse(status=reply.status, headers=kept)
                await response.prepare(request)
                async for chunk in reply.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        app = web.Application(client_max_size=32 * 1024**2)
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        print(f"aiohttp gateway at port {port}", flush=True)
        await asyncio.Event().wait()


def _show(costs: dict[str, list[Cost]]) -> None:
    for field in fields(Cost):
        values = {name: [getattr(cost, field.name) for cost in costs[name]] for name in GATEWAYS}
        for name in GATEWAYS:
            print(
                f"{field.name:20} {name:9} {median(values[name]):10,.1f} "
                f"({min(values[name]):,.1f} to {max(values[name]):,.1f})"
            )
        pairs = zip(values["headrace"], values["aiohttp"], strict=True)
        ratios = [ours / theirs for ours, theirs in pairs if theirs > 0]
        if ratios:
            interval = bootstrap_median(ratios)
            shown = "" if interval is None else f", 95 % {interval[0]:.2f} to {interval[1]:.2f}"
            print(f"{field.name:20} headrace / aiohttp {median(ratios):.2f}{shown}", flush=True)


def _cores(options: argparse.Namespace) -> tuple[int, int] | None:
    """The gateways' core, and the one of load and mock; None: no affinity."""
    if options.smoke or not hasattr(os, "sched_setaffinity"):
        return None
    return options.gateway_core, options.load_core


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare the cost of the gateway's HTTP code with aiohttp's."
    )
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--gateway-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--output", type=Path, help="write all values to this JSON file")
    parser.add_argument("--smoke", action="store_true", help="one tiny pair, to test this script")
    parser.add_argument("--serve-aiohttp", type=int, metavar="PORT", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
