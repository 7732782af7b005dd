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
import time
from collections.abc import Callable

from headrace.gateway.exchange import Exchange
from headrace.gateway.exchanges import Exchanges
from headrace.gateway.http.client_connection import ClientConnection
from headrace.gateway.http.http_request import Request
from headrace.gateway.routing import refusals
from headrace.gateway.routing.choice import Refused, ServiceMatch
from headrace.gateway.routing.replica import Replica
from headrace.gateway.routing.router import ProbeOutcome, Router, Verdict
from headrace.gateway.table_file import TableFile
from headrace.gateway.upstream.pool import Pool
from headrace.gateway.upstream.prober import probe

TABLE_INTERVAL_S = 0.05
TIMES_INTERVAL_S = 0.1
CONNECTIONS_INTERVAL_S = 0.25
BACKLOG = 4096

logger = logging.getLogger("headrace.gateway")


class GatewayServer:
    """One gateway on one event loop."""

    def __init__(self, table_file: TableFile, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._table_file = table_file
        self.router = Router(time.monotonic())
        self._pool = Pool(loop, time.monotonic)
        self._exchanges = Exchanges(loop, self.router, self._pool)
        self._connections: set[ClientConnection] = set()
        self._is_empty = asyncio.Event()
        """No client is connected while draining."""
        self._listener: _Listener | None = None
        self._chores: list[asyncio.Task[None]] = []
        self._probes: set[asyncio.Task[None]] = set()
        self._request_id_prefix = secrets.token_hex(8).encode()
        self._num_requests = 0
        self.table_generation = 0

    async def start(self, sock: socket.socket) -> None:
        """Follow the route table, and take connections at this bound socket."""
        self._follow_table()
        for interval_s, chore in (
            (TABLE_INTERVAL_S, self._follow_table),
            (TIMES_INTERVAL_S, self._check_exchanges),
            (CONNECTIONS_INTERVAL_S, self._check_connections),
        ):
            self._chores.append(self._loop.create_task(_every(interval_s, chore)))
        self._listener = _Listener(self._loop, sock, lambda: ClientConnection(self))
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

    # for client connections

    @property
    def is_draining(self) -> bool:
        return self._exchanges.is_draining

    def match(self, request: Request) -> ServiceMatch | Refused:
        match = self.router.find_service(request.host, request.path)
        if match is None:
            return refusals.unknown_service()
        if self._authorizes(match, request):
            return match
        refused = refusals.invalid_key(match.service.name)
        self.refused(match, refused)
        return refused

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
        forwarded = request.forwarded(match.path, body, connection.client, request_id)
        exchange = Exchange(self._exchanges, connection, match, request, body, forwarded, now)
        self._exchanges.add(exchange)
        return exchange

    def opened(self, connection: ClientConnection) -> None:
        self._connections.add(connection)

    def closed(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        if not self._connections and self.is_draining:
            self._is_empty.set()

    def _authorizes(self, match: ServiceMatch, request: Request) -> bool:
        authorize = self.router.authorize
        return authorize(match.service, request.authorization) or any(
            authorize(match.service, key) for key in request.other_keys
        )

    # chores

    def _follow_table(self) -> None:
        table = self._table_file.read_if_changed()
        if table is not None:
            self.router.replace_table(table, time.monotonic())
            self.table_generation += 1

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


class _Listener:
    """A listening socket that can be closed without losing a connection that has just come."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        create: Callable[[], ClientConnection],
    ) -> None:
        self._loop = loop
        self._create = create
        # Listens on when the server closes its own, until the queue is empty.
        self._last = sock.dup()
        self._sock = sock
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await self._loop.create_server(
            self._create, sock=self._sock, backlog=BACKLOG
        )

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._last.setblocking(False)
        while True:
            try:
                accepted, _ = self._last.accept()
            except OSError:
                break
            await self._loop.connect_accepted_socket(self._create, accepted)
        self._last.close()


async def _every(interval_s: float, chore: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            chore()
        except Exception:
            logger.exception("A regular chore of the gateway failed; it goes on.")
