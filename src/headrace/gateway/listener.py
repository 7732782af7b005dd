"""The gateway's listening sockets: bound for a hand-over, closed without losing a connection."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from typing import TypedDict

from headrace.listen.sockets import listen_error, resolve

BACKLOG = 4096
HANDSHAKE_TIMEOUT_S = 10.0
"""Of TLS. A client that does not complete it is disconnected."""
SHUTDOWN_TIMEOUT_S = 2.0
"""For a client to acknowledge the end of a TLS connection."""
HANDOVER_S = 0.25
"""Time to accept connections whose first packet came before the successor got all new ones."""

_SO_ATTACH_REUSEPORT_CBPF = 51  # of Linux; the socket module does not have it
_BPF_RETURN_CONSTANT = 0x06


def bind(host: str, port: int, takes_over: bool, option: str = "--port") -> socket.socket:
    """A bound socket with SO_REUSEPORT, so that a successor can share the port. Raises ListenError.

    ``takes_over``: another process may listen there. ``option``: sets the port, for the error.
    """
    family, kind, protocol, address = resolve(host, port)
    try:
        if not takes_over:
            # SO_REUSEPORT would succeed beside any process that uses it: check for one first.
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
        raise listen_error(host, port, error, option) from error
    return sock


class _TlsLimits(TypedDict, total=False):
    ssl_handshake_timeout: float
    ssl_shutdown_timeout: float


class Listener:
    """Accepts connections; `stop` leaves new ones to a successor, and accepts those that are in the
    backlog first."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        create: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._loop = loop
        self._create = create
        self._tls = tls
        self._tls_limits_s: _TlsLimits = (
            {}
            if tls is None
            else {
                "ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S,
                "ssl_shutdown_timeout": SHUTDOWN_TIMEOUT_S,
            }
        )
        # Continues to listen when the server closes its own, until the backlog is empty.
        self._last = sock.dup()
        self._sock = sock
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await self._loop.create_server(
            self._create, sock=self._sock, backlog=BACKLOG, ssl=self._tls, **self._tls_limits_s
        )

    async def stop(self) -> None:
        if self._server is not None:
            if _prefer_successor(self._last):
                await asyncio.sleep(HANDOVER_S)
            self._server.close()
        self._last.setblocking(False)
        connecting = []
        while True:
            try:
                accepted, _ = self._last.accept()
            except OSError:
                break
            connecting.append(
                self._loop.connect_accepted_socket(
                    self._create, accepted, ssl=self._tls, **self._tls_limits_s
                )
            )
        # Before the handshakes, which take time: what arrives from now on is another listener's.
        self._last.close()
        await asyncio.gather(*connecting, return_exceptions=True)  # TLS handshakes may fail


def _prefer_successor(sock: socket.socket) -> bool:
    """Direct new connections to the other socket that listens on this address, if there is one.

    A connection that is not accepted when its listening socket is closed is reset by the system,
    even if its handshake is not complete yet. Of the sockets that share a port, a BPF program
    chooses one by its index, in the order in which they began to listen: this one has index 0, its
    successor 1. Without a successor the program has no effect. Returns False where the system has
    no such programs.
    """
    if sys.platform != "linux":
        return False
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN_CONSTANT, 0, 0, 1))
    program = struct.pack("HL", 1, ctypes.addressof(instruction))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)
    except OSError:
        return False
    return True
