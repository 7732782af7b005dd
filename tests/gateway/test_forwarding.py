"""Requests and responses are forwarded unchanged, over real sockets."""

import asyncio
import json
from collections.abc import Callable

import openai
import pytest

from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.raw_http import request
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

Route = Callable[..., str]

CHAT = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5})
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


def post(service: str, body: bytes = b"{}", *headers: bytes) -> bytes:
    lines = [b"POST /v1/x HTTP/1.1", b"host: %b.localhost" % service.encode(), *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


def test_the_openai_client_works_by_host_and_by_path(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route
) -> None:
    name = route(mock.route)
    url = f"http://127.0.0.1:{gateway.port}"
    # Not every resolver resolves subdomains of localhost, but the host is only a header.
    for base_url, headers in (
        (f"{url}/v1", {"Host": f"{name}.localhost"}),
        (f"{url}/{name}/v1", {}),
    ):
        with openai.OpenAI(
            base_url=base_url, api_key="none", max_retries=0, default_headers=headers
        ) as client:
            asked: dict[str, object] = {
                "model": "mock",
                "messages": [{"role": "user", "content": "Hi"}],
                "max_tokens": 5,
            }
            whole = client.chat.completions.create(**asked)  # type: ignore[call-overload]
            assert whole.usage.completion_tokens == 5
            stream = client.chat.completions.create(**asked, stream=True)  # type: ignore[call-overload]
            texts = [chunk.choices[0].delta.content or "" for chunk in stream]
            assert "".join(texts) == whole.choices[0].message.content
            assert [model.id for model in client.models.list()] == ["mock"]


def test_a_response_is_forwarded_unchanged(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route
) -> None:
    name = route(mock.route)
    url = f"http://127.0.0.1:{gateway.port}/{name}"
    direct = f"http://127.0.0.1:{mock.port}"
    for path, body in (("/v1/models", None), ("/v1/chat/completions", "{"), ("/nowhere", None)):
        method = "GET" if body is None else "POST"
        through = request(url, method, f"/{name}{path}", body)
        straight = request(direct, method, path, body)
        assert through.status == straight.status
        assert through.body == straight.body
        assert dict(through.headers) == dict(straight.headers)


def test_method_and_headers_reach_the_replica(gateway: GatewayProcess, route: Route) -> None:
    seen: list[bytes] = []
    port = 0

    async def script(peer: Peer) -> None:
        while True:
            seen.append(await peer.read_message())
            await peer.send(
                b"HTTP/1.1 418 I'm a teapot\r\nX-Back: One\r\n"
                b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
                b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
                b"content-length: 3\r\n\r\ntea"
            )

    async def scenario() -> None:
        nonlocal port
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(
                f"PATCH /{name}/v1/x?q=%20y HTTP/1.1\r\nHost: me.example:80\r\nX-Odd_Name: Ä\r\n"
                "X-Twice: 1\r\nX-Twice: 2\r\nConnection: X-Gone\r\nX-Gone: 1\r\n"
                "Content-Length: 4\r\n\r\nbody".encode("latin-1")
            )
            response = await client.read_message()
            await client.close()
            assert replica.num_connections == 1
            port = replica.port
        assert response == (
            b"HTTP/1.1 418 I'm a teapot\r\nX-Back: One\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
            b"content-length: 3\r\n\r\ntea"
        )

    asyncio.run(scenario())
    head, _, body = seen[0].partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first == "PATCH /v1/x?q=%20y HTTP/1.1"
    assert body == b"body"
    assert lines[:4] == [
        f"host: 127.0.0.1:{port}",
        "X-Odd_Name: Ä",
        "X-Twice: 1",
        "X-Twice: 2",
    ]
    assert "x-forwarded-for: 127.0.0.1" in lines
    assert "x-forwarded-host: me.example:80" in lines
    assert any(line.startswith("x-request-id: ") for line in lines)
    assert not any(line.startswith(("X-Gone", "Connection")) for line in lines)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param(OK, OK, id="a length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            id="chunks",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            id="the connection's end",
        ),
        pytest.param(
            b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n", id="no body"
        ),
        pytest.param(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK, OK, id="after a 103"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
            OK,
            id="closing",
        ),
    ],
)
def test_responses_of_every_framing_are_forwarded(
    gateway: GatewayProcess, route: Route, response: bytes, expected: bytes
) -> None:
    """Each twice on one client connection, also byte by byte."""
    is_slow = False

    async def script(peer: Peer) -> None:
        await peer.read_message()
        for index in range(0, len(response), 1 if is_slow else len(response)):
            await peer.send(response[index : index + (1 if is_slow else len(response))])
            await asyncio.sleep(0)

    async def scenario() -> None:
        nonlocal is_slow
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            for slowly in (False, True):
                is_slow = slowly
                await client.send(post(name))
                head = await client.read_until(b"\r\n\r\n")
                assert head == expected.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                if b"chunked" in head:
                    body = await client.read_until(b"0\r\n\r\n")
                    assert body.replace(b"1\r\no\r\n1\r\nk", b"2\r\nok").endswith(
                        b"2\r\nok\r\n0\r\n\r\n"
                    )
                else:
                    rest = expected[len(head) :]
                    assert await client.read_exactly(len(rest)) == rest
            await client.close()

    asyncio.run(scenario())


def test_a_response_to_head_has_no_body(gateway: GatewayProcess, route: Route) -> None:
    async def script(peer: Peer) -> None:
        while True:
            assert (await peer.read_head()).startswith(b"HEAD ")
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            for _ in range(2):
                await client.send(f"HEAD /{name}/ HTTP/1.1\r\nhost: h\r\n\r\n".encode())
                assert (
                    await client.read_head() == b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
                )
            await client.close()

    asyncio.run(scenario())


def test_an_http_1_0_client_gets_an_unchunked_response(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route
) -> None:
    name = route(mock.route)
    body = json.dumps({"prompt": "x", "max_tokens": 2, "stream": True}).encode()

    async def scenario() -> bytes:
        client = await connect(gateway.port)
        await client.send(
            b"POST /%b/v1/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b"
            % (name.encode(), len(body), body)
        )
        return await client.read_to_end()

    head, _, response = asyncio.run(scenario()).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"connection: close" in head
    assert response.startswith(b"data: {")
    assert response.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"connection: keep-alive\r\n",
        b"connection: close\r\n",
        b"proxy-connection: keep-alive\r\n",
    ],
    ids=["nothing", "keep-alive", "close", "proxy"],
)
@pytest.mark.parametrize(
    ("pieces", "has_length"),
    [
        pytest.param([b"content-length: 4\r\n\r\ndata"], True, id="a length"),
        pytest.param([CHUNKED + b"4\r\ndata\r\n0\r\n\r\n"], True, id="chunks at once"),
        pytest.param([CHUNKED + b"2\r\nda\r\n", b"2\r\nta\r\n0\r\n\r\n"], False, id="chunks"),
        pytest.param([CHUNKED + b"0\r\n\r\n"], True, id="no chunks"),
        pytest.param([b"\r\nda", b"ta"], False, id="the connection's end"),
    ],
)
def test_an_http_1_0_response_ends_by_length_or_by_close(
    gateway: GatewayProcess, route: Route, headers: bytes, pieces: list[bytes], has_length: bool
) -> None:
    """HTTP/1.0 has no chunked encoding, even with keep-alive."""
    is_begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + pieces[0])
        for piece in pieces[1:]:
            await is_begun.wait()
            await peer.send(piece)

    async def scenario() -> bytes:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(b"GET /%b/x HTTP/1.0\r\n%b\r\n" % (name.encode(), headers))
            response = await client.read_head()
            is_begun.set()
            if has_length and b"keep-alive" in headers:
                length = int(response.split(b"content-length: ")[1].split(b"\r\n")[0])
                response += await client.read_exactly(length)
                assert b"\r\nconnection: keep-alive\r\n" in response
                await client.close()
                return response
            return response + await client.read_to_end()

    head, _, body = asyncio.run(scenario()).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert (b"\r\ncontent-length: %d" % len(body) in head) is has_length
    assert body == (
        b"" if pieces[0].endswith(b"0\r\n\r\n") and b"data" not in pieces[0] else b"data"
    )


@pytest.mark.parametrize("by_host", [False, True])
def test_redirects_are_rewritten_for_the_client(
    gateway: GatewayProcess, route: Route, by_host: bool
) -> None:
    """As web frameworks redirect a path with a trailing slash: to their own address."""
    asked: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.read_message()
            asked.append(head.split(b" ")[1])
            if not asked[-1].endswith(b"/"):
                await peer.send(OK)
                continue
            host = head.split(b"\r\nhost: ")[1].split(b"\r\n")[0]
            await peer.send(
                b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://%b%b\r\n"
                b"Content-Location: /v1/x\r\ncontent-length: 0\r\n\r\n" % (host, asked[-1][:-1])
            )

    async def scenario() -> tuple[bytes, bytes, str]:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            host = f"{name}.localhost" if by_host else "localhost"
            path = "/v1/x/" if by_host else f"/{name}/v1/x/"
            await client.send(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
            redirect = await client.read_head()
            location = redirect.split(b"\r\nlocation: ")[1].split(b"\r\n")[0]
            assert str(replica.port).encode() not in redirect
            await client.send(b"GET %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (location, host.encode()))
            response = await client.read_message()
            await client.close()
            return redirect, response, name

    redirect, response, name = asyncio.run(scenario())
    assert response == OK
    assert asked == [b"/v1/x/", b"/v1/x"]
    prefix = b"" if by_host else b"/" + name.encode()
    assert b"\r\ncontent-location: %b/v1/x\r\n" % prefix in redirect


def test_request_bodies_of_every_framing_arrive_complete(
    gateway: GatewayProcess, route: Route
) -> None:
    seen: list[bytes] = []
    big = b"0123456789" * 500_000

    async def script(peer: Peer) -> None:
        while True:
            seen.append((await peer.read_message()).partition(b"\r\n\r\n")[2])
            await peer.send(OK)

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name, big))
            assert await client.read_message() == OK
            head = f"POST /{name}/v1/x HTTP/1.1\r\nhost: h\r\n".encode()
            await client.send(head + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await client.send(b"2\r\nde\r\n0\r\n\r\n")
            assert await client.read_message() == OK
            await client.send(head + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n")
            assert await client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"xyz")
            assert await client.read_message() == OK
            await client.close()

    asyncio.run(scenario())
    assert seen == [big, b"abcde", b"xyz"]


def test_pipelined_responses_come_in_order(gateway: GatewayProcess, route: Route) -> None:
    async def script(peer: Peer) -> None:
        while True:
            body = (await peer.read_message()).partition(b"\r\n\r\n")[2]
            await asyncio.sleep(0.02 if body == b"1" else 0)
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + body)

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            unknown = b"GET /no/such HTTP/1.1\r\nhost: h\r\n\r\n"
            await client.send(post(name, b"1") + post(name, b"2") + unknown + post(name, b"3"))
            responses = [await client.read_message() for _ in range(4)]
            assert [response[-1:] for response in responses] == [b"1", b"2", b"}", b"3"]
            # The connection is still usable afterwards.
            await client.send(post(name, b"4"))
            assert (await client.read_message()).endswith(b"4")
            await client.close()
            assert replica.num_connections == 1

    asyncio.run(scenario())


def test_an_optional_upgrade_is_declined(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route
) -> None:
    """Java's client offers HTTP/2 with each request."""
    name = route(mock.route)

    async def scenario() -> None:
        client = await connect(gateway.port)
        for _ in range(2):
            await client.send(
                f"POST /{name}/v1/chat/completions HTTP/1.1\r\nhost: h\r\n"
                "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA\r\n"
                f"content-length: {len(CHAT)}\r\n\r\n{CHAT}".encode()
            )
            assert (await client.read_message()).startswith(b"HTTP/1.1 200 OK")
        await client.close()

    asyncio.run(scenario())


def test_responses_are_streamed(gateway: GatewayProcess, route: Route) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_message()
        await peer.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n4\r\ndata\r\n"
        )
        await go_on.wait()
        await peer.send(b"5\r\n: 2\n\n\r\n0\r\n\r\n")

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name))
            assert await client.read_until(b"data: 1\n\n\r\n")
            go_on.set()
            assert await client.read_until(b"0\r\n\r\n") == b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
            await client.close()

    asyncio.run(scenario())


def test_a_second_response_to_one_request_is_discarded(
    gateway: GatewayProcess, route: Route
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_message()
        await peer.send(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await peer.read_message()

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            for _ in range(2):
                await client.send(post(name))
                assert await client.read_message() == OK
            await client.close()
            assert replica.num_connections == 2

    asyncio.run(scenario())
