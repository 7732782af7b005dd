"""A replica parses what the client sent, or the client is refused.

The judge of both is h11, which shares nothing with the gateway's parser: it reads the client's
bytes as a server without a gateway would, and what the gateway makes of them.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import h11
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from headrace.core.gateway.routes import ServiceRoute, TargetRoute
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LAST = b"GET /fuzz/last HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_ADDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id")


@dataclass(frozen=True)
class Understood:
    """One request as h11 parses it; of its headers, only the client's."""

    method: bytes
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Judge:
    """Parses one connection's requests as a server; with an address, as a replica."""

    def __init__(self, address: bytes | None = None) -> None:
        self._address = address
        self._connection = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body = b""

    def read(self, data: bytes) -> list[Understood]:
        """Those that are complete now. Raises h11.RemoteProtocolError."""
        self._connection.receive_data(data)
        found = []
        while type(event := self._connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self._request, self._body = event, b""
                if self._address is not None:
                    _check_what_replicas_get(event, self._address)
            elif isinstance(event, h11.Data):
                self._body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert self._request is not None
                found.append(_understood(self._request, self._body))
                self._connection.send(h11.Response(status_code=200, headers=[]))
                self._connection.send(h11.EndOfMessage())
                if self._connection.our_state is not h11.DONE:
                    break
                self._connection.start_next_cycle()
            else:
                break
        return found


def _check_what_replicas_get(request: h11.Request, address: bytes) -> None:
    """One Host, the replica's, no Origin, and the forwarded headers."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        values.setdefault(name, []).append(value)
    if values[b"host"] != [address] or b"origin" in values:
        raise h11.RemoteProtocolError("a replica got what is not for it")
    if values[b"x-forwarded-for"][-1].split(b", ")[-1] != b"127.0.0.1":
        raise h11.RemoteProtocolError("a replica is not told who asks")


def _understood(request: h11.Request, body: bytes) -> Understood:
    named = b",".join(value for name, value in request.headers if name == b"connection")
    dropped = {name.strip().lower() for name in named.split(b",")} | set(_ADDED)
    return Understood(
        request.method,
        request.target.removeprefix(b"http://h").removeprefix(b"/fuzz"),
        tuple(
            (name, value)
            for name, value in request.headers
            if name.startswith(b"x-") and name not in dropped
        ),
        body,
    )


@dataclass
class ReplicaEndpoint:
    """What it received."""

    understood: list[Understood] = field(default_factory=list)
    num_wrong: int = 0
    address: bytes = b""

    async def serve(self, peer: Peer) -> None:
        judge = Judge(self.address)
        while data := await peer.reader.read(65536):
            try:
                found = judge.read(data)
            except h11.RemoteProtocolError:
                self.num_wrong += 1
                return
            self.understood += found
            for _ in found:
                await peer.send(OK)


class Line:
    """From a client through the gateway to a replica, all on one event loop."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._loop = asyncio.new_event_loop()
        self.replica = ReplicaEndpoint()
        self._server = ScriptedReplica(self.replica.serve, "fuzz")
        self._loop.run_until_complete(self._server.__aenter__())
        self.replica.address = b"127.0.0.1:%d" % self._server.port
        target = TargetRoute(1, 3000, 100, (self._server.route,))
        gateway.follow(ServiceRoute("fuzz", True, (target,)))

    def send(self, pieces: list[bytes]) -> list[int]:
        """The statuses of the responses to this connection's requests."""
        self.replica.understood.clear()
        self.replica.num_wrong = 0
        return self._loop.run_until_complete(self._send(pieces))

    def close(self) -> None:
        self._loop.run_until_complete(self._server.__aexit__(None, None, None))
        self._loop.close()

    async def _send(self, pieces: list[bytes]) -> list[int]:
        client = await connect(self._gateway.port)
        reading = asyncio.create_task(client.read_to_end())
        for piece in pieces:
            if client.writer.is_closing():
                break
            client.writer.write(piece)
            await asyncio.sleep(0)
        statuses = [int(status) for status in _STATUS.findall(await reading)]
        return [status for status in statuses if status != 100]


@pytest.fixture(scope="module")
def line(gateway: GatewayProcess) -> Iterator[Line]:
    line = Line(gateway)
    yield line
    line.close()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places})
    return [data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True) if i < j]


METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND"])
PATHS = st.text("abAB01-._~!$&'()*+,;=:@/%?", max_size=20).map(lambda text: text.encode())
TARGETS = PATHS.map(lambda path: b"/fuzz/" + path) | PATHS.map(
    lambda path: b"http://h/fuzz/" + path
)
NAMES = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8).map(
    lambda text: b"x-n" + text.encode()
)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=20
).map(lambda text: text.encode("latin-1").strip())
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
BODIES = st.binary(max_size=60)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """A body in chunks, in any valid notation."""
    pieces = cut(body, draw(st.lists(st.integers(0, 60), max_size=4)))
    written = b""
    for piece in pieces:
        size = draw(st.sampled_from([b"%x", b"%X", b"00%x"])) % len(piece)
        written += size + draw(st.sampled_from([b"", b";a", b';a="b"'])) + b"\r\n" + piece + b"\r\n"
    trailers = draw(
        st.sampled_from([b"", b"x-t: 1\r\n", b"x-forwarded-for: 6.6.6.6\r\nhost: b\r\n"])
    )
    return written + b"0\r\n" + trailers + b"\r\n"


@st.composite
def well_formed(draw: st.DrawFn) -> bytes:
    body = draw(BODIES)
    lines = [b"%b %b HTTP/1.1" % (draw(METHODS), draw(TARGETS)), b"Host: h"]
    lines += [name + b":" + draw(st.sampled_from([b"", b" ", b"\t "])) + value
              for name, value in draw(HEADERS)]  # fmt: skip
    if draw(st.booleans()):
        lines.append(b"Transfer-Encoding: chunked")
        body = draw(chunked(body))
    else:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


ODD_LINES = st.sampled_from(
    [
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding: xchunked",
        b"X: y\r\n Transfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"Content-Length: 0",
        b"Content-Length: 5",
        b"Content-Length: 05",
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Content-Length: 5 ",
        b"Content-Length: 0x5",
        b"Content-Length:\r\n 5",
        b"Content-Length: 5\x00",
        b"Host: other",
        b"Origin: http://localhost",
        b"Origin: http://localhost\r\nAccess-Control-Request-Method: GET",
        b"X-Forwarded-Host: a\r\nX-Forwarded-Host: b",
        b"Authorization: Bearer a\r\nAuthorization: Bearer b",
        b"Host: h h",
        b"Connection: x-a, host, content-length, transfer-encoding",
        b"Connection: origin, x-forwarded-for, authorization",
        b"Connection: close",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
        b"Expect: 100-continue",
        b"X-A: 1",
        b"X-B\x00: 1",
        b"X-C: \x00",
        b": 1",
        b"X-D",
        b" X-E: 1",
    ]
)
ODD_ENDS = st.sampled_from(
    [
        b"",
        b"abcde",
        b"0\r\n\r\n",
        b"5\r\nabcde\r\n0\r\n\r\n",
        b"5\nabcde\n0\n\n",
        b"5;\nabcde\r\n0\r\n\r\n",
        b"5 \r\nabcde\r\n0\r\n\r\n",
        b"05\r\nabcde\r\n0\r\nContent-Length: 7\r\n\r\n",
        b"4\r\nabcde\r\n0\r\n\r\n",
        b"-5\r\nabcde\r\n0\r\n\r\n",
        b"10000000000000005\r\nabcde\r\n0\r\n\r\n",
        b"5\r\nabcde\r\n0\r\n\r\nGET /fuzz/hidden HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /fuzz/hidden HTTP/1.1\r\nHost: h\r\nX-F: ",
    ]
)


@st.composite
def odd(draw: st.DrawFn) -> bytes:
    target = draw(st.sampled_from([b"/fuzz/a", b"http://h/fuzz/a", b"/fuzz/a b", b"*", b"fuzz/a"]))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0"]))
    lines = [b" ".join((draw(METHODS), target, version))]
    if draw(st.integers(0, 9)):
        lines.append(b"Host: h")
    lines += draw(st.lists(ODD_LINES, max_size=3))
    return b"\r\n".join([*lines, b"", draw(ODD_ENDS)])


@settings(max_examples=60, deadline=None)
@given(requests=st.lists(well_formed(), min_size=1, max_size=3), cuts=CUTS)
def test_well_formed_requests_arrive_unchanged(
    line: Line, requests: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(requests) + LAST
    meant = Judge().read(data)
    assert len(meant) == len(requests) + 1
    assert line.send(cut(data, cuts)) == [200] * len(meant)
    assert line.replica.understood == meant


@settings(max_examples=250, deadline=None)
@given(requests=st.lists(odd(), min_size=1, max_size=2), cuts=CUTS)
def test_malformed_requests_are_rejected_or_arrive_unambiguously(
    line: Line, requests: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(requests) + LAST
    meant = []
    judge = Judge()
    try:
        for index in range(len(data)):  # what precedes the first fault counts
            meant += judge.read(data[index : index + 1])
    except h11.RemoteProtocolError:
        event("h11 refuses it too")
    statuses = line.send(cut(data, cuts))
    assert statuses, "neither answered nor refused"
    assert line.replica.num_wrong == 0
    passed = [index for index, status in enumerate(statuses) if status == 200]
    assert all(status >= 400 for status in statuses if status not in (200, 204))
    event(f"{len(passed)} of {len(meant)} passed")
    assert line.replica.understood == [meant[index] for index in passed]
