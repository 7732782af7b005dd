"""``python -m headrace.gateway``: one gateway in a process of its own.

Knows the process's life: bind, say where, serve, drain at the first SIGTERM or SIGINT, end at once
at the second.
"""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from headrace.core.errors import HeadraceError
from headrace.gateway.access import Access, AccessOptions
from headrace.gateway.errors import ListenError
from headrace.gateway.http.cors import CorsOptions
from headrace.gateway.reporting.admin import Admin
from headrace.gateway.server import GatewayServer
from headrace.gateway.table_file import TableFile
from headrace.listen.origins import ANY, is_loopback
from headrace.listen.sockets import base_url
from headrace.listen.tls import TlsFiles, tls_files


@dataclass(frozen=True)
class GatewayConfig:
    routes: Path
    """The route table's file; it may not be there yet."""
    host: str
    port: int
    admin_host: str
    """/stats and /metrics name services and replicas, so they are not for everybody."""
    admin_port: int
    takes_over: bool
    """A gateway that listens at the same ports is about to stop; until then both get requests."""
    tls: TlsFiles | None
    """Of the port for clients; the admin port has no TLS."""
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    cors: CorsOptions


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
        description="Split traffic over the replicas that a route table names.",
    )
    parser.add_argument("--routes", type=Path, required=True, help="the route table's file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--admin-host", default="127.0.0.1")
    parser.add_argument("--admin-port", type=int, default=8081, help="0 takes a free one")
    parser.add_argument(
        "--take-over",
        dest="takes_over",
        action="store_true",
        help="share the ports with a gateway that is about to stop",
    )
    parser.add_argument("--ssl-certfile", help="certificate chain in PEM format, for HTTPS")
    parser.add_argument("--ssl-keyfile", help="the certificate's private key")
    for name, description in (
        ("hosts", "a host name that services without keys answer to, besides loopback"),
        ("origins", "an origin whose web pages may use services"),
        ("methods", "a method that such pages may use (all)"),
        ("headers", "a header that such pages may send (all)"),
    ):
        parser.add_argument(
            f"--allowed-{name}", action="append", help=f"{description}; repeatable, * for all"
        )
    parser.add_argument(
        "--allow-credentials", action="store_true", help="such pages may send cookies"
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
    )


async def _serve(config: GatewayConfig) -> int:
    loop = asyncio.get_running_loop()
    stop = _Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.on_signal)
    tls = None if config.tls is None else config.tls.server_context()
    sock = _bind(config.host, config.port, config.takes_over)
    options = AccessOptions(
        is_loopback=_is_loopback(sock),
        allowed_hosts=config.allowed_hosts,
        allowed_origins=config.allowed_origins,
        cors=config.cors,
    )
    server = GatewayServer(TableFile(config.routes), loop, options)
    try:
        admin_sock = _bind(config.admin_host, config.admin_port, config.takes_over)
        admin_access = Access(replace(options, is_loopback=_is_loopback(admin_sock)))
        admin = Admin(server.router, lambda: server.is_draining, admin_access.accepts_host)
        await admin.start(admin_sock)
    except BaseException:
        sock.close()
        raise
    await server.start(sock, tls)
    url = base_url(sock, "http" if tls is None else "https")
    print(f"gateway at {url}, admin at {base_url(admin_sock)}", flush=True)

    await stop.first.wait()
    if server.num_open:
        print(f"draining: {server.num_open} requests are under way", flush=True)
    draining = loop.create_task(server.drain())
    at_once = loop.create_task(stop.second.wait())
    await asyncio.wait({draining, at_once}, return_when=asyncio.FIRST_COMPLETED)
    is_drained = draining.done()
    if not is_drained:
        draining.cancel()
        server.close()
    at_once.cancel()
    admin.close()
    return 0 if is_drained else 1


class _Stop:
    """What signals ask for."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    def on_signal(self) -> None:
        if self.first.is_set():
            self.second.set()
        self.first.set()


def _bind(host: str, port: int, takes_over: bool) -> socket.socket:
    """A bound socket that a successor may share the port with. Raises ListenError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if not takes_over:
            # Whoever shares ports may share with anybody: find out first that nobody is there.
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise ListenError(host, port, error) from error
    return sock


def _is_loopback(sock: socket.socket) -> bool:
    return is_loopback(sock.getsockname()[0])


if __name__ == "__main__":
    sys.exit(main())
