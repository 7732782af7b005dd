"""A fast client for the two completion endpoints: connections are reused, failures are recorded.

It shares the machine with the server that it measures, so it does little: bytes are split as they
come, and of the JSON only what is measured is decoded.
"""

import asyncio
import time

from headrace.bench.http.address import parse_address
from headrace.bench.http.connection import BenchConnection, ConnectionCutError, exchange
from headrace.bench.http.credentials import hide_key
from headrace.bench.http.response_reader import ResponseReader
from headrace.bench.http.tls import client_context
from headrace.bench.records import BenchTarget, Failure, RequestRecord
from headrace.http1.connection import (
    STALE_AFTER_S,
    HttpConnection,
    InvalidResponseError,
    ResponseHead,
)
from headrace.http1.idle_connections import IdleConnections


class Client:
    """Connections to one target, as many as there are concurrent requests; it has no limit."""

    def __init__(
        self,
        target: BenchTarget,
        *,
        is_streamed: bool,
        timeout_s: float,
        stale_after_s: float = STALE_AFTER_S,
    ) -> None:
        """``stale_after_s``: a connection that was idle for this long and is closed without a
        response is replaced, and the request is sent again. One in steady use was lost, which is a
        failure."""
        self._address = parse_address(target.base_url)
        self._api_key = target.api_key
        self._tls = client_context(self._address.is_tls, target.ca_certs)
        self._hosts = list(self._address.connect_hosts)
        """What to connect to, in this order; the one that worked last comes first."""
        self._is_streamed = is_streamed
        self._timeout_s = timeout_s
        self._stale_after_s = stale_after_s
        self._idle: IdleConnections[BenchConnection] | None = None
        self._all: set[BenchConnection] = set()

    async def send(
        self, request: bytes, record: RequestRecord, *, began_s: float, keep_text: bool = False
    ) -> None:
        """Send a request and fill its record, whose times count from ``began_s``.

        Raises nothing but what cancels it.
        """
        reader = ResponseReader(
            record, began_s=began_s, is_streamed=self._is_streamed, keep_text=keep_text
        )
        record.sent_s = time.perf_counter() - began_s
        is_complete = await self._fill(request, reader, record)
        if record.error is not None:
            record.error = self._printable(record.error)
        if is_complete and self._idle is not None:
            await self._idle.probed()  # after the record is filled: it has no part in the times

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.abort()
        self._all.clear()
        if self._idle is not None:
            self._idle.close()
        await asyncio.sleep(0)  # for the event loop to close the sockets

    async def _fill(self, request: bytes, reader: ResponseReader, record: RequestRecord) -> bool:
        """Whether the response is complete, as far as HTTP is concerned."""
        try:
            async with asyncio.timeout(self._timeout_s):
                ended_s = await self._exchange(request, reader, record)
        except TimeoutError:
            error = f"No complete response within {self._timeout_s:g} s."
            reader.fail(Failure.TIMEOUT, error, time.perf_counter())
        except ConnectionCutError as error:
            reader.fail(Failure.CUT, str(error), time.perf_counter())
        except InvalidResponseError as error:
            reader.fail(Failure.MALFORMED, str(error), time.perf_counter())
        except OSError as error:
            reader.fail(Failure.CONNECT, self._connect_error(error), time.perf_counter())
        else:
            reader.finish(ended_s)
            return True
        return False

    def _printable(self, error: str) -> str:
        """Fit for a terminal and a file: without the key, on one line of printable characters."""
        plain = "".join(each if each.isprintable() else " " for each in error)
        return hide_key(plain, self._api_key)

    async def _exchange(
        self, request: bytes, reader: ResponseReader, record: RequestRecord
    ) -> float:
        if self._idle is None:
            self._idle = IdleConnections(asyncio.get_running_loop())
        connection = self._idle.take()
        if connection is not None:
            try:
                return await self._exchange_on(connection, request, reader)
            except ConnectionCutError:
                if not connection.was_stale(self._stale_after_s):
                    raise
        return await self._exchange_on(await self._connect(record), request, reader)

    async def _exchange_on(
        self, connection: BenchConnection, request: bytes, reader: ResponseReader
    ) -> float:
        try:
            return await exchange(connection, request, reader)
        finally:
            if not connection.is_usable:
                self._all.discard(connection)

    def _release(self, connection: BenchConnection) -> None:
        assert self._idle is not None
        self._idle.release(connection)

    async def _connect(self, record: RequestRecord) -> BenchConnection:
        began_s = time.perf_counter()
        try:
            connection = await self._connect_to_any()
        except TimeoutError as error:  # the system's, not that of the request
            raise ConnectionError("the connection attempt timed out") from error
        finally:
            record.connect_s += time.perf_counter() - began_s
        self._all.add(connection)
        return connection

    async def _connect_to_any(self) -> BenchConnection:
        loop = asyncio.get_running_loop()
        first: OSError | None = None
        for host in tuple(self._hosts):
            try:
                _, connection = await loop.create_connection(
                    lambda: HttpConnection(ResponseHead, self._release, time.perf_counter),
                    host,
                    self._address.port,
                    ssl=self._tls,
                    server_hostname=self._address.host if self._tls else None,
                )
            except OSError as error:
                first = first or error
                continue
            if host != self._hosts[0]:
                self._hosts.remove(host)
                self._hosts.insert(0, host)
            return connection
        assert first is not None, "there is always a host to try"
        raise first

    def _connect_error(self, error: OSError) -> str:
        where = f"{self._address.host} port {self._address.port}"
        return f"No connection to {where}: {error.strerror or error}."
