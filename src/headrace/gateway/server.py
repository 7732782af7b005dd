"""The gateway at run time: its listening socket, its periodic tasks, and its shutdown.

1. `start` listens with SO_REUSEPORT, so that a successor can listen before this one stops.
2. Periodic tasks: reload the route table, check timeouts and idle connections, probe replicas.
3. `drain` accepts no new connections, waits for the requests in flight, and closes the rest.
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
from weakref import WeakSet

from headrace.core.gateway.request_records import DEFAULT_NUM_RECORDS
from headrace.gateway import errors
from headrace.gateway.access import Access, AccessOptions
from headrace.gateway.client_connection import ClientConnection
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.http.http_request import Request
from headrace.gateway.http.local_reply import LocalReply
from headrace.gateway.in_flight import InFlight
from headrace.gateway.listener import HANDSHAKE_TIMEOUT_S, Listener
from headrace.gateway.proxied_request import ProxiedRequest
from headrace.gateway.reporting.request_lines import RequestLines
from headrace.gateway.reporting.request_log import RequestLog
from headrace.gateway.reporting.request_span import SpanSource
from headrace.gateway.routing.decisions import ServiceMatch
from headrace.gateway.routing.ejection import HealthChange, ProbeOutcome
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ReplicaEndpoint
from headrace.gateway.table_file import TableFile
from headrace.gateway.upstream.pool import Pool
from headrace.gateway.upstream.prober import probe

TABLE_INTERVAL_S = 0.1
TIMEOUTS_INTERVAL_S = 0.1
CONNECTIONS_INTERVAL_S = 0.5
HANDSHAKE_POLL_S = 0.02

logger = logging.getLogger("headrace.gateway")


class GatewayServer:
    """One gateway on one event loop."""

    def __init__(
        self,
        table_file: TableFile,
        loop: asyncio.AbstractEventLoop,
        options: AccessOptions | None = None,
        *,
        max_num_records: int = DEFAULT_NUM_RECORDS,
        lines: RequestLines | None = None,
        spans: SpanSource | None = None,
    ) -> None:
        """``max_num_records``: of requests, in memory; ``lines``: the log for requests; ``spans``:
        their traces."""
        self._loop = loop
        self._table_file = table_file
        self._options = options or AccessOptions()
        self.access = Access(self._options)
        self._open_services: set[str] = set()
        """Those that a warning was logged for."""
        self.router = Router(time.monotonic())
        self._pool = Pool(loop, time.monotonic)
        self._lines = lines
        write = None if lines is None else lines.add
        self.log = RequestLog(self.router, max_num_records, write, spans)
        self._in_flight = InFlight(loop, self.router, self._pool, self.log)
        self._connections: set[ClientConnection] = set()
        self._handshaking: WeakSet[ClientConnection] = WeakSet()
        """Accepted connections whose TLS handshake is not complete. Weak references: no callback
        reports a failed handshake."""
        self._is_empty = asyncio.Event()
        """While draining: no client is connected any more."""
        self._listener: Listener | None = None
        self._periodic_tasks: list[asyncio.Task[None]] = []
        self._probes: set[asyncio.Task[None]] = set()
        self._request_id_prefix = secrets.token_hex(8).encode()
        self._num_requests = 0
        self.table_generation = 0

    async def start(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Load the route table, and accept connections on this bound socket."""
        self._reload_table()
        for interval_s, task in (
            (TABLE_INTERVAL_S, self._reload_table),
            (TIMEOUTS_INTERVAL_S, self._check_timeouts),
            (CONNECTIONS_INTERVAL_S, self._check_connections),
        ):
            self._periodic_tasks.append(self._loop.create_task(_run_every(interval_s, task)))
        create = self._start_handshake if tls is not None else lambda: ClientConnection(self)
        self._listener = Listener(self._loop, sock, create, tls)
        await self._listener.start()
        # The objects of the start are permanent, and requests create no reference cycles: more
        # frequent collections would only slow down single requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    async def drain(self) -> None:
        """Returns when all responses are complete and all connections closed."""
        self._in_flight.is_draining = True
        if self._listener is not None:
            await self._listener.stop()
        deadline = self._loop.time() + HANDSHAKE_TIMEOUT_S
        while self.num_handshaking and self._loop.time() < deadline:
            await asyncio.sleep(HANDSHAKE_POLL_S)
        if self._connections:
            await self._is_empty.wait()
        self.close()

    def close(self) -> None:
        """Close everything at once."""
        for task in (*self._periodic_tasks, *self._probes):
            task.cancel()
        for connection in list(self._connections):
            connection.abort()
        self._pool.close()
        self._flush_lines()

    @property
    def num_open(self) -> int:
        """Requests in flight."""
        return len(self._in_flight)

    @property
    def num_handshaking(self) -> int:
        """Connections whose TLS handshake is not complete."""
        return len(self._handshaking)

    # for client connections

    @property
    def is_draining(self) -> bool:
        return self._in_flight.is_draining

    def match(self, request: Request) -> ServiceMatch | LocalReply:
        host = request.host
        match = self.router.find_service(host, request.path)
        if match is None:
            self.access.complete_unmatched(request)
            return errors.unknown_service()
        reply = self.access.admit(match.service, request, host)
        if reply is None:
            return match
        if isinstance(reply, ErrorResponse):
            self.count_rejected(match, request, reply)
        else:
            self.router.count_response(match.service, None, reply.status, None)
        return reply

    def count_rejected(self, match: ServiceMatch, request: Request, error: ErrorResponse) -> None:
        self._num_requests += 1
        record_id = b"%b-%x" % (self._request_id_prefix, self._num_requests)
        self.log.rejected(match, request, error, record_id)

    def add_request(
        self,
        connection: ClientConnection,
        match: ServiceMatch,
        request: Request,
        body: bytes,
        now: float,
    ) -> ProxiedRequest:
        self._num_requests += 1
        request_id = b"%b-%x" % (self._request_id_prefix, self._num_requests)
        proxied = ProxiedRequest(self._in_flight, connection, match, request, body, request_id, now)
        self._in_flight.add(proxied)
        return proxied

    def opened(self, connection: ClientConnection) -> None:
        self._handshaking.discard(connection)
        self._connections.add(connection)

    def closed(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        if not self._connections and self.is_draining:
            self._is_empty.set()

    def _start_handshake(self) -> ClientConnection:
        connection = ClientConnection(self)
        self._handshaking.add(connection)
        return connection

    # periodic tasks

    def _reload_table(self) -> None:
        table = self._table_file.read_if_changed()
        if table is not None:
            self.router.replace_table(table, time.monotonic(), time.time())
            self.table_generation += 1
            self._warn_of_open_services()

    def _warn_of_open_services(self) -> None:
        """Once for each service without keys, if the gateway listens beyond loopback."""
        if self._options.is_loopback:
            return
        is_open = {
            service.name
            for service in self.router.services.values()
            if service.is_listed and service.is_enabled and not service.has_keys
        }
        for name in sorted(is_open - self._open_services):
            logger.warning(
                "Service %s has no API key, and the gateway listens beyond loopback: anyone on the "
                "network can use the service. Create a key with "
                "'headrace service key create --service %s NAME'.",
                name,
                name,
            )
        self._open_services = is_open

    def _check_timeouts(self) -> None:
        now = time.monotonic()
        self._in_flight.check_timeouts(now)
        for replica in self.router.replicas_to_probe(now):
            task = self._loop.create_task(self._probe(replica))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)

    def _check_connections(self) -> None:
        now = time.monotonic()
        self._pool.close_idle(now)
        for connection in list(self._connections):
            connection.check_timeouts(now)
        self.log.set_clock()
        self._flush_lines()

    def _flush_lines(self) -> None:
        if self._lines is not None:
            self._lines.flush()

    async def _probe(self, replica: ReplicaEndpoint) -> None:
        began_at = time.monotonic()
        outcome = await probe(replica.host, replica.port)
        # A replica that has sent something meanwhile is alive, even if it is too busy for a probe.
        if replica.last_received_at > began_at:
            outcome = ProbeOutcome.HEALTHY
        now = time.monotonic()
        change = self.router.probed(replica, outcome, now)
        if change is HealthChange.EJECTED:
            logger.warning(
                "Replica %s of service %s ejected: unresponsive. It gets no new requests until it "
                "responds.",
                replica.replica_id,
                replica.service,
            )
        elif change is HealthChange.DEAD:
            logger.warning(
                "Replica %s of service %s ejected: probes fail. Its requests are aborted.",
                replica.replica_id,
                replica.service,
            )
            self._in_flight.replica_died(replica, now)
        self.router.conclude_probe(replica, outcome, began_at, now)


async def _run_every(interval_s: float, task: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            task()
        except Exception:
            logger.exception("A periodic task of the gateway failed; it continues.")
