"""A fast client for the two completion endpoints: connections reused, every failure in the record.

It shares the machine with what it measures, so it does little: bytes are split as they come, and
of JSON only what is measured is decoded. Knows no workload and no arrival times.
"""

import asyncio
import time

from headrace.bench.http.address import parse_address
from headrace.bench.http.connection import BadAnswerError, ConnectionCutError, HttpConnection
from headrace.bench.http.credentials import hide_key
from headrace.bench.http.response_reader import AnswerReader
from headrace.bench.http.tls import client_context
from headrace.bench.records import Failure, RequestRecord, Target

RETRY_AFTER_IDLE_S = 1.0
"""Servers close connections that were idle for long, and may do so just as one is used again: then
the request never got there, and it is sent once more. One on a connection in steady use was lost,
which is a failure."""

REST_S = 0.02
"""Some servers (llama-server) promise to keep a connection and close it once a stream has ended, so
that the next request would be lost. After its first answer a client waits for so long, once, and
sees which kind it talks with."""


class Client:
    """Connections to one target, as many as are in use at a time; no limit of its own."""

    def __init__(
        self,
        target: Target,
        *,
        is_streamed: bool,
        timeout_s: float,
        retry_after_idle_s: float = RETRY_AFTER_IDLE_S,
    ) -> None:
        self._address = parse_address(target.base_url)
        self._api_key = target.api_key
        self._tls = client_context(self._address.is_tls, target.ca_certs)
        self._hosts = list(self._address.connect_hosts)
        """What to connect to, in this order; the one that answered last comes first."""
        self._is_streamed = is_streamed
        self._timeout_s = timeout_s
        self._retry_after_idle_s = retry_after_idle_s
        self._idle: list[HttpConnection] = []
        """The one used last is taken first."""
        self._resting: list[HttpConnection] = []
        """Those that have answered while it is not known whether they stay open."""
        self._all: set[HttpConnection] = set()
        self._keeps_open: bool | None = None
        """Whether the server leaves connections open after streams, if that is known."""

    async def send(
        self, request: bytes, record: RequestRecord, *, began_s: float, keep_text: bool = False
    ) -> None:
        """Send a request and fill its record, whose times count from ``began_s``.

        Raises nothing but what cancels it.
        """
        reader = AnswerReader(
            record, began_s=began_s, is_streamed=self._is_streamed, keep_text=keep_text
        )
        record.sent_s = time.perf_counter() - began_s
        is_answered = await self._fill(request, reader, record)
        if record.error is not None:
            record.error = self._shown(record.error)
        if is_answered:
            await self._learn_whether_kept()

    async def _fill(self, request: bytes, reader: AnswerReader, record: RequestRecord) -> bool:
        """Whether an answer came to its end, as HTTP goes."""
        try:
            async with asyncio.timeout(self._timeout_s):
                ended_s = await self._exchange(request, reader, record)
        except TimeoutError:
            error = f"No whole answer within {self._timeout_s:g} s."
            reader.fail(Failure.TIMEOUT, error, time.perf_counter())
        except ConnectionCutError as error:
            reader.fail(Failure.CUT, str(error), time.perf_counter())
        except BadAnswerError as error:
            reader.fail(Failure.MALFORMED, str(error), time.perf_counter())
        except OSError as error:
            reader.fail(Failure.CONNECT, self._connect_error(error), time.perf_counter())
        else:
            reader.finish(ended_s)
            return True
        return False

    def _shown(self, error: str) -> str:
        """Fit for a terminal and a file: without the key, on one line of plain characters."""
        plain = "".join(each if each.isprintable() else " " for each in error)
        return hide_key(plain, self._api_key)

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._idle.clear()
        self._resting.clear()
        await asyncio.sleep(0)  # for the loop to let go of the sockets

    async def _exchange(self, request: bytes, reader: AnswerReader, record: RequestRecord) -> float:
        connection = self._take_idle()
        if connection is None:
            return await self._exchange_on(await self._connect(record), request, reader)
        idle_s = time.perf_counter() - connection.ended_s
        try:
            return await self._exchange_on(connection, request, reader)
        except ConnectionCutError as error:
            if error.has_begun or idle_s < self._retry_after_idle_s:
                raise
        return await self._exchange_on(await self._connect(record), request, reader)

    async def _exchange_on(
        self, connection: HttpConnection, request: bytes, reader: AnswerReader
    ) -> float:
        try:
            return await connection.exchange(request, reader)
        finally:
            self._keep(connection)

    def _keep(self, connection: HttpConnection) -> None:
        """For another request, if there may be one."""
        keeps_open = self._keeps_open if connection.was_chunked else True
        if not connection.is_open or keeps_open is False:
            connection.close()
            self._all.discard(connection)
        elif keeps_open:
            self._idle.append(connection)
        else:
            self._resting.append(connection)

    async def _learn_whether_kept(self) -> None:
        """By what becomes of the first connections after their streams, whose times are taken."""
        if not self._resting:
            return
        oldest = self._resting[0]
        await asyncio.sleep(REST_S)
        if self._keeps_open is None:
            self._keeps_open = oldest.is_open
        resting, self._resting = self._resting, []
        for connection in resting:
            self._keep(connection)

    def _take_idle(self) -> HttpConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            self._all.discard(connection)
        return None

    async def _connect(self, record: RequestRecord) -> HttpConnection:
        began_s = time.perf_counter()
        try:
            connection = await self._connect_to_any()
        except TimeoutError as error:  # the system's own, which is not ours of the request
            raise ConnectionError("it did not answer in time") from error
        finally:
            record.connect_s += time.perf_counter() - began_s
        self._all.add(connection)
        return connection

    async def _connect_to_any(self) -> HttpConnection:
        loop = asyncio.get_running_loop()
        first: OSError | None = None
        for host in tuple(self._hosts):
            try:
                _, connection = await loop.create_connection(
                    HttpConnection,
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
