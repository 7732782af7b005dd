"""``python -m headrace.gateway``: one gateway in a process of its own.

It binds, prints its addresses, serves, drains at the first SIGTERM or SIGINT, and exits at once at
the second.
"""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from headrace.core.errors import HeadraceError
from headrace.core.gateway.request_records import DEFAULT_NUM_RECORDS
from headrace.gateway.access import Access, AccessOptions
from headrace.gateway.http.cors import CorsOptions
from headrace.gateway.listener import bind
from headrace.gateway.reporting.admin import Admin
from headrace.gateway.reporting.request_lines import LogFormat, RequestLines
from headrace.gateway.reporting.request_span import SpanSource
from headrace.gateway.server import GatewayServer
from headrace.gateway.table_file import TableFile
from headrace.listen.origins import ANY, is_loopback
from headrace.listen.sockets import base_url
from headrace.listen.tls import TlsFiles, tls_files
from headrace.listen.tracing import otlp_exporter


@dataclass(frozen=True)
class GatewayConfig:
    routes: Path
    """The route table's file; it may not exist yet."""
    host: str
    port: int
    admin_host: str
    """/stats and /metrics show services and replicas, so this is not the clients' address."""
    admin_port: int
    takes_over: bool
    """Another gateway that listens on the same ports is about to stop; until then both get
    requests."""
    tls: TlsFiles | None
    """Of the client port; the admin port has no TLS."""
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    cors: CorsOptions
    num_request_records: int
    logs_requests: bool
    log_format: LogFormat
    otlp_traces_endpoint: str | None


def main(arguments: Sequence[str] | None = None) -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        config = _parse(arguments)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(config))
    except HeadraceError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _parse(arguments: Sequence[str] | None) -> GatewayConfig:
    parser = argparse.ArgumentParser(
        prog="python -m headrace.gateway",
        description="Gateway: split traffic over the replicas in a route table.",
    )
    parser.add_argument("--routes", type=Path, required=True, help="the route table's file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0: any free port")
    parser.add_argument("--admin-host", default="127.0.0.1")
    parser.add_argument("--admin-port", type=int, default=8081, help="0: any free port")
    parser.add_argument(
        "--take-over",
        dest="takes_over",
        action="store_true",
        help="share the ports with a gateway that is about to stop",
    )
    parser.add_argument("--ssl-certfile", help="certificate chain in PEM format, for HTTPS")
    parser.add_argument("--ssl-keyfile", help="the certificate's private key")
    for name, description in (
        ("hosts", "a host name to allow for services without keys, besides loopback"),
        ("origins", "an origin whose web pages may use services"),
        ("methods", "a method that such pages may use (default: all)"),
        ("headers", "a header that such pages may send (default: all)"),
    ):
        parser.add_argument(
            f"--allowed-{name}", action="append", help=f"{description}; repeatable; * allows all"
        )
    parser.add_argument(
        "--allow-credentials", action="store_true", help="such pages may send cookies"
    )
    parser.add_argument(
        "--request-records",
        type=_count,
        default=DEFAULT_NUM_RECORDS,
        help="the last requests that /requests on the admin port shows (default: %(default)s)",
    )
    parser.add_argument(
        "--log-requests", action="store_true", help="log a line for each request, without its text"
    )
    parser.add_argument(
        "--log-format",
        type=LogFormat,
        choices=list(LogFormat),
        default=LogFormat.TEXT,
        help="of these lines: text or json",
    )
    parser.add_argument(
        "--otlp-traces-endpoint",
        metavar="URL",
        help="send an OpenTelemetry span for each request to this address, over HTTP",
    )
    given = parser.parse_args(arguments)
    return GatewayConfig(
        routes=given.routes,
        host=given.host,
        port=given.port,
        admin_host=given.admin_host,
        admin_port=given.admin_port,
        takes_over=given.takes_over,
        tls=tls_files(given.ssl_certfile, given.ssl_keyfile),
        allowed_hosts=tuple(given.allowed_hosts or ()),
        allowed_origins=tuple(given.allowed_origins or ()),
        cors=CorsOptions(
            allowed_methods=tuple(given.allowed_methods or (ANY,)),
            allowed_headers=tuple(given.allowed_headers or (ANY,)),
            allow_credentials=given.allow_credentials,
        ),
        num_request_records=given.request_records,
        logs_requests=given.log_requests,
        log_format=given.log_format,
        otlp_traces_endpoint=given.otlp_traces_endpoint,
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number of requests")
    return int(text)


async def _serve(config: GatewayConfig) -> int:
    loop = asyncio.get_running_loop()
    stop = _Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.on_signal)
    tls = None if config.tls is None else config.tls.server_context()
    sock = bind(config.host, config.port, config.takes_over)
    options = AccessOptions(
        is_loopback=_is_loopback(sock),
        allowed_hosts=config.allowed_hosts,
        allowed_origins=config.allowed_origins,
        cors=config.cors,
    )
    lines = RequestLines(config.log_format, _write_lines) if config.logs_requests else None
    endpoint = config.otlp_traces_endpoint
    spans = None if endpoint is None else SpanSource(otlp_exporter(endpoint))
    server = GatewayServer(
        TableFile(config.routes),
        loop,
        options,
        max_num_records=config.num_request_records,
        lines=lines,
        spans=spans,
    )
    try:
        admin_sock = bind(config.admin_host, config.admin_port, config.takes_over, "--admin-port")
        admin_access = Access(replace(options, is_loopback=_is_loopback(admin_sock)))
        admin = Admin(
            server.router, server.log, lambda: server.is_draining, admin_access.accepts_host
        )
        await admin.start(admin_sock)
    except BaseException:
        sock.close()
        raise
    await server.start(sock, tls)
    url = base_url(sock, "http" if tls is None else "https")
    print(f"gateway at {url}, admin at {base_url(admin_sock)}", flush=True)

    await stop.first.wait()
    if server.num_open:
        print(f"draining: {server.num_open} requests in flight", flush=True)
    draining = loop.create_task(server.drain())
    at_once = loop.create_task(stop.second.wait())
    await asyncio.wait({draining, at_once}, return_when=asyncio.FIRST_COMPLETED)
    is_drained = draining.done()
    if not is_drained:
        draining.cancel()
        server.close()
    at_once.cancel()
    await admin.close()
    if spans is not None:
        spans.close()
    return 0 if is_drained else 1


class _Stop:
    """The first and the second signal to stop."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    def on_signal(self) -> None:
        if self.first.is_set():
            self.second.set()
        self.first.set()


def _write_lines(lines: str) -> None:
    with suppress(OSError):  # a full disk must not interrupt requests
        print(lines, end="", flush=True)


def _is_loopback(sock: socket.socket) -> bool:
    return is_loopback(sock.getsockname()[0])


if __name__ == "__main__":
    sys.exit(main())
