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
from dataclasses import dataclass
from pathlib import Path

import uvloop

from headrace.core.errors import HeadraceError
from headrace.gateway.errors import ListenError
from headrace.gateway.reporting.admin import Admin
from headrace.gateway.server import GatewayServer
from headrace.gateway.table_file import TableFile


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


def main(arguments: Sequence[str] | None = None) -> int:
    config = _parse(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
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
    return GatewayConfig(**vars(parser.parse_args(arguments)))


async def _serve(config: GatewayConfig) -> int:
    loop = asyncio.get_running_loop()
    stop = _Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.on_signal)
    sock = _bind(config.host, config.port, config.takes_over)
    server = GatewayServer(TableFile(config.routes), loop)
    admin = Admin(server.router, lambda: server.is_draining)
    try:
        admin_sock = _bind(config.admin_host, config.admin_port, config.takes_over)
        await admin.start(admin_sock)
    except BaseException:
        sock.close()
        raise
    await server.start(sock)
    print(f"gateway at {_url(sock)}, admin at {_url(admin_sock)}", flush=True)

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


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    sys.exit(main())
