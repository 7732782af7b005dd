"""The gateway at work: its listening socket, its regular chores, and how it ends.

1. `start` listens with SO_REUSEPORT, so that a successor can listen before this one stops.
2. Chores: follow the route table's file, mind time limits and idle connections, probe replicas.
3. `drain` takes no new connections, lets what is under way end, and closes the rest.

Knows nothing of what is in a request.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from typing import TypedDict
from weakref import WeakSet

from headrace.gateway.access import Access, AccessOptions
from headrace.gateway.client_connection import ClientConnection
from headrace.gateway.http.http_request import Request
from headrace.gateway.http.local_reply import OwnAnswer
from headrace.gateway.in_flight import Exchanges
from headrace.gateway.proxied_request import Exchange
from headrace.gateway.routing import refusals
from headrace.gateway.routing.decisions import Refused, ServiceMatch
from headrace.gateway.routing.replica import Replica
from headrace.gateway.routing.router import ProbeOutcome, Router, Verdict
from headrace.gateway.table_file import TableFile
from headrace.gateway.upstream.pool import Pool
from headrace.gateway.upstream.prober import probe

TABLE_INTERVAL_S = 0.1
TIMES_INTERVAL_S = 0.1
CONNECTIONS_INTERVAL_S = 0.5
BACKLOG = 4096
HANDSHAKE_TIMEOUT_S = 10.0
"""Of TLS. A client that does not finish it is left."""
SHUTDOWN_TIMEOUT_S = 2.0
"""For a client to say that it has seen the end of a TLS connection."""
HANDSHAKE_POLL_S = 0.02

logger = logging.getLogger("headrace.gateway")


class GatewayServer:
    """One gateway on one event loop."""

    def __init__(
        self,
        table_file: TableFile,
        loop: asyncio.AbstractEventLoop,
        options: AccessOptions | None = None,
    ) -> None:
        self._loop = loop
        self._table_file = table_file
        self._options = options or AccessOptions()
        self.access = Access(self._options)
        self._open_services: set[str] = set()
        """That the log has warned of."""
        self.router = Router(time.monotonic())
        self._pool = Pool(loop, time.monotonic)
        self._exchanges = Exchanges(loop, self.router, self._pool)
        self._connections: set[ClientConnection] = set()
        self._shaking_hands: WeakSet[ClientConnection] = WeakSet()
        """Accepted, and not connected yet for want of a TLS handshake. Those that fail are never
        heard of again."""
        self._is_empty = asyncio.Event()
        """No client is connected while draining."""
        self._listener: _Listener | None = None
        self._chores: list[asyncio.Task[None]] = []
        self._probes: set[asyncio.Task[None]] = set()
        self._request_id_prefix = secrets.token_hex(8).encode()
        self._num_requests = 0
        self.table_generation = 0

    async def start(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Follow the route table, and take connections at this bound socket."""
        self._follow_table()
        for interval_s, chore in (
            (TABLE_INTERVAL_S, self._follow_table),
            (TIMES_INTERVAL_S, self._check_exchanges),
            (CONNECTIONS_INTERVAL_S, self._check_connections),
        ):
            self._chores.append(self._loop.create_task(_every(interval_s, chore)))
        create = self._shake_hands if tls is not None else lambda: ClientConnection(self)
        self._listener = _Listener(self._loop, sock, create, tls)
        await self._listener.start()
        # What is there now stays; and a request leaves no cycles behind, so that looking for them
        # more often would only make some requests slow.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    async def drain(self) -> None:
        """Returns when the last client has its answer."""
        self._exchanges.is_draining = True
        if self._listener is not None:
            await self._listener.stop()
        give_up_at = self._loop.time() + HANDSHAKE_TIMEOUT_S
        while self.num_shaking_hands and self._loop.time() < give_up_at:
            await asyncio.sleep(HANDSHAKE_POLL_S)
        if self._connections:
            await self._is_empty.wait()
        self.close()

    def close(self) -> None:
        """End at once."""
        for task in (*self._chores, *self._probes):
            task.cancel()
        for connection in list(self._connections):
            connection.abort()
        self._pool.close()

    @property
    def num_open(self) -> int:
        """Requests under way."""
        return self._exchanges.num_open

    @property
    def num_shaking_hands(self) -> int:
        """Connections that have no TLS yet."""
        return len(self._shaking_hands)

    # for client connections

    @property
    def is_draining(self) -> bool:
        return self._exchanges.is_draining

    def match(self, request: Request) -> ServiceMatch | OwnAnswer:
        host = request.host
        match = self.router.find_service(host, request.path)
        if match is None:
            self.access.complete_unmatched(request)
            return refusals.unknown_service()
        answer = self.access.admit(match.service, request, host)
        if answer is None:
            return match
        self.router.answered(match.service, None, answer.status, None)
        return answer

    def refused(self, match: ServiceMatch, refused: Refused) -> None:
        self.router.answered(match.service, None, refused.status, None)

    def start_exchange(
        self,
        connection: ClientConnection,
        match: ServiceMatch,
        request: Request,
        body: bytes,
        now: float,
    ) -> Exchange:
        self._num_requests += 1
        request_id = b"%b-%x" % (self._request_id_prefix, self._num_requests)
        exchange = Exchange(self._exchanges, connection, match, request, body, request_id, now)
        self._exchanges.add(exchange)
        return exchange

    def opened(self, connection: ClientConnection) -> None:
        self._shaking_hands.discard(connection)
        self._connections.add(connection)

    def closed(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        if not self._connections and self.is_draining:
            self._is_empty.set()

    def _shake_hands(self) -> ClientConnection:
        connection = ClientConnection(self)
        self._shaking_hands.add(connection)
        return connection

    # chores

    def _follow_table(self) -> None:
        table = self._table_file.read_if_changed()
        if table is not None:
            self.router.replace_table(table, time.monotonic(), time.time())
            self.table_generation += 1
            self._warn_of_open_services()

    def _warn_of_open_services(self) -> None:
        """Once for each service that everyone in the network may use."""
        if self._options.is_loopback:
            return
        is_open = {
            service.name
            for service in self.router.services.values()
            if service.is_listed and service.is_enabled and not service.has_keys
        }
        for name in sorted(is_open - self._open_services):
            logger.warning(
                "Service %s has no API key, and this gateway listens beyond loopback: everyone "
                "who reaches it may use the service. Close it with "
                "'headrace service key create --service %s NAME'.",
                name,
                name,
            )
        self._open_services = is_open

    def _check_exchanges(self) -> None:
        now = time.monotonic()
        self._exchanges.check_times(now)
        for replica in self.router.replicas_to_probe(now):
            task = self._loop.create_task(self._probe(replica))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)

    def _check_connections(self) -> None:
        now = time.monotonic()
        self._pool.close_idle(now)
        for connection in list(self._connections):
            connection.check_time(now)

    async def _probe(self, replica: Replica) -> None:
        began_at = time.monotonic()
        outcome = await probe(replica.host, replica.port)
        # Whoever has said something meanwhile lives, even if it has no time for a probe.
        if replica.heard_at > began_at:
            outcome = ProbeOutcome.WELL
        now = time.monotonic()
        verdict = self.router.probed(replica, outcome, now)
        if verdict is Verdict.EJECTED:
            logger.warning(
                "Replica %s of %s is silent: it gets no new requests until it answers.",
                replica.replica_id,
                replica.service,
            )
        elif verdict is Verdict.DEAD:
            logger.warning(
                "Replica %s of %s is dead: its probes fail.", replica.replica_id, replica.service
            )
            self._exchanges.replica_died(replica, now)
        self.router.conclude_probe(replica, outcome, began_at, now)


class _TlsLimits(TypedDict, total=False):
    ssl_handshake_timeout: float
    ssl_shutdown_timeout: float


class _Listener:
    """A listening socket that can be closed without losing a connection that has just come."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        create: Callable[[], ClientConnection],
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
        # Listens on when the server closes its own, until the queue is empty.
        self._last = sock.dup()
        self._sock = sock
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await self._loop.create_server(
            self._create, sock=self._sock, backlog=BACKLOG, ssl=self._tls, **self._tls_limits_s
        )

    async def stop(self) -> None:
        if self._server is not None:
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
        await asyncio.gather(*connecting, return_exceptions=True)  # TLS handshakes may fail
        self._last.close()


async def _every(interval_s: float, chore: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            chore()
        except Exception:
            logger.exception("A regular chore of the gateway failed; it goes on.")
