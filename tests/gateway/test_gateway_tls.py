"""The gateway's client port with TLS: the same guarantees as without it."""

import asyncio
import gc
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
import uvloop

from headrace.core.gateway.routes import Limits, ServiceRoute, TargetRoute
from headrace.gateway.server import GatewayServer
from headrace.gateway.table_file import TableFile
from headrace.listen.tls import TlsFiles
from headrace.testing.certificates import write_certificate
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

StartMock = Callable[..., MockServerProcess]

STREAM = json.dumps({"prompt": "x", "max_tokens": 10, "stream": True}).encode()
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, tls: TlsFiles) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("secure"), *options(tls)) as gateway:
        yield gateway


def options(tls: TlsFiles) -> tuple[str, ...]:
    return ("--ssl-certfile", str(tls.certfile), "--ssl-keyfile", str(tls.keyfile))


async def connect_tls(gateway: GatewayProcess, tls: TlsFiles) -> Peer:
    context = ssl.create_default_context(cafile=tls.certfile)
    return Peer(
        *await asyncio.open_connection(
            "127.0.0.1", gateway.port, ssl=context, server_hostname="localhost"
        )
    )


def request_bytes(body: bytes = b"{}", *headers: bytes, version: bytes = b"1.1") -> bytes:
    first = b"POST /svc/v1/completions HTTP/" + version
    length = b"content-length: %d" % len(body)
    return b"\r\n".join((first, b"host: localhost", *headers, length, b"", body))


def follow(gateway: GatewayProcess, *replicas: MockServerProcess | ScriptedReplica) -> None:
    target = TargetRoute(1, 3000, 100, tuple(replica.route for replica in replicas))
    gateway.follow(ServiceRoute("svc", True, (target,), limits=Limits(max_body_bytes=100_000)))


def test_the_openai_client_works(
    secure: GatewayProcess, tls: TlsFiles, mock: MockServerProcess
) -> None:
    follow(secure, mock)
    assert "gateway at https://" in secure.output
    context = ssl.create_default_context(cafile=tls.certfile)
    with openai.OpenAI(
        base_url=f"https://127.0.0.1:{secure.port}/svc/v1",
        api_key="none",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=context),
    ) as client:
        stream = client.completions.create(model="mock", prompt="x", max_tokens=5, stream=True)
        assert len([chunk for chunk in stream if chunk.choices[0].text]) == 5


def test_forwarded_headers_report_https(secure: GatewayProcess, tls: TlsFiles) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.read_message())
        await peer.send(OK)

    async def scenario() -> bytes:
        async with ScriptedReplica(script) as replica:
            await asyncio.to_thread(follow, secure, replica)
            client = await connect_tls(secure, tls)
            await client.send(request_bytes())
            response = await client.read_message()
            await client.close()
            return response

    assert asyncio.run(scenario()) == OK
    assert b"\r\nx-forwarded-proto: https\r\n" in seen[0]


def test_plain_http_on_the_tls_port_is_closed_and_leaks_nothing(
    secure: GatewayProcess, tls: TlsFiles, mock: MockServerProcess
) -> None:
    follow(secure, mock)

    async def scenario() -> bytes:
        for sent in (request_bytes(), b"\x16\x03\x01garbage" * 100, b""):
            client = await connect(secure.port)
            await client.send(sent)
            if not sent:
                client.abort()
            response = await client.read_to_end()
            assert b"HTTP/" not in response
        client = await connect_tls(secure, tls)
        await client.send(request_bytes())
        response = await client.read_message()
        await client.close()
        return response

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in secure.output


@pytest.mark.slow
def test_a_stalled_handshake_times_out(secure: GatewayProcess) -> None:
    async def scenario() -> None:
        clients = [await connect(secure.port) for _ in range(20)]
        await asyncio.gather(*(client.read_to_end() for client in clients))

    asyncio.run(scenario())


def test_failed_handshakes_leak_nothing(tmp_path: Path, tls: TlsFiles) -> None:
    """Not even until the next garbage collection, which is rare in the gateway."""

    async def scenario() -> None:
        server = GatewayServer(TableFile(tmp_path / "routes.json"), asyncio.get_running_loop())
        sock = _listening()
        await server.start(sock, tls.server_context())
        port = sock.getsockname()[1]
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                client = await connect(port)
                await client.send(b"GET / HTTP/1.1\r\n\r\n")
                await client.read_to_end()
            async with asyncio.timeout(60):
                while server.num_handshaking:
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()
            await server.drain()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


def _listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def test_an_error_response_reaches_a_client_that_is_still_sending(
    secure: GatewayProcess, tls: TlsFiles, mock: MockServerProcess
) -> None:
    """TLS has no half-closed connections."""
    follow(secure, mock)

    async def scenario() -> bytes:
        client = await connect_tls(secure, tls)
        await client.send(request_bytes(b"x" * 200_000))
        response = await client.read_message()
        await client.close()
        return response

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_truncated_response_is_detectable(
    secure: GatewayProcess, tls: TlsFiles, version: bytes
) -> None:
    """A complete response ends with close_notify; a truncated one lacks it, or the last chunk."""
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        if (await peer.read_message()).startswith(b"GET /health"):
            await peer.send(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
            return
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await go_on.wait()

    async def scenario() -> tuple[bytes, bool]:
        async with ScriptedReplica(script) as replica:
            await asyncio.to_thread(follow, secure, replica)
            client = await connect_tls(secure, tls)
            await client.send(request_bytes(version=version))
            response = await client.read_until(b"half")
            go_on.set()
            is_clean = True
            try:
                while piece := await client.reader.read(100):
                    response += piece
            except (ConnectionError, ssl.SSLError):
                is_clean = False
            client.writer.transport.abort()
            return response, is_clean

    response, is_clean = asyncio.run(scenario())
    assert not response.endswith(b"0\r\n\r\n")
    assert b"half" in response
    if version == b"1.0":
        assert b"chunked" not in response
        assert not is_clean


def test_backpressure_from_a_slow_client_reaches_its_replica(
    secure: GatewayProcess, tls: TlsFiles
) -> None:
    num_sent = 0
    num_in_all = 64 * 1024 * 1024
    is_slow = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal num_sent
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % num_in_all)
        piece = b"x" * 65536
        while num_sent < num_in_all:
            peer.writer.write(piece)
            try:
                async with asyncio.timeout(1.0):
                    await peer.writer.drain()
            except TimeoutError:
                is_slow.set()
                await peer.writer.drain()
            num_sent += len(piece)

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            await asyncio.to_thread(follow, secure, replica)
            client = await connect_tls(secure, tls)
            await client.send(request_bytes())
            async with asyncio.timeout(60):
                await is_slow.wait()
            assert num_sent < num_in_all / 2
            await client.read_head()
            num_read = 0
            while num_read < num_in_all:
                num_read += len(await client.reader.read(1024 * 1024))
            await client.close()

    asyncio.run(scenario())


def test_sigterm_drains_requests_in_flight(
    tmp_path: Path, tls: TlsFiles, start_mock: StartMock
) -> None:
    mock = start_mock("--tokens-per-s", "20")
    with GatewayProcess(tmp_path, *options(tls)) as gateway:
        follow(gateway, mock)

        async def scenario() -> bytes:
            client = await connect_tls(gateway, tls)
            await client.send(request_bytes(STREAM))
            begin = await client.read_until(b"data: ")
            gateway.send_signal(signal.SIGTERM)
            return begin + await client.read_to_end()

        response = asyncio.run(scenario())
        assert gateway.wait() == 0
    assert response.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_takeover_drops_no_request(tmp_path: Path, tls: TlsFiles, start_mock: StartMock) -> None:
    mock = start_mock()
    with GatewayProcess(tmp_path, *options(tls)) as old:
        follow(old, mock)
        responses: list[bytes] = []
        is_over = False

        async def keep_asking() -> None:
            while not is_over:
                client = await connect_tls(old, tls)
                await client.send(request_bytes())
                responses.append(await client.read_message())
                await client.close()

        async def scenario() -> None:
            nonlocal is_over
            asking = [asyncio.create_task(keep_asking()) for _ in range(8)]
            with GatewayProcess(tmp_path, "--take-over", *options(tls), port=old.port):
                num_before = len(responses)
                assert await asyncio.to_thread(old.stop) == 0
                while len(responses) < num_before + 100:
                    await asyncio.sleep(0.01)
                is_over = True
                await asyncio.gather(*asking)

        asyncio.run(scenario())
    assert all(response.startswith(b"HTTP/1.1 200 OK") for response in responses)


def test_the_admin_port_has_no_tls(secure: GatewayProcess) -> None:
    assert secure.admin_url.startswith("http://")
    assert secure.stats().uptime_s > 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ssl-certfile", "{cert}"),
        ("--ssl-keyfile", "{key}"),
        ("--ssl-certfile", "{key}", "--ssl-keyfile", "{key}"),
        ("--ssl-certfile", "/nowhere", "--ssl-keyfile", "{key}"),
    ],
)
def test_an_invalid_certificate_is_a_one_line_error(
    tmp_path: Path, tls: TlsFiles, arguments: tuple[str, ...]
) -> None:
    given = [word.format(cert=tls.certfile, key=tls.keyfile) for word in arguments]
    command = [sys.executable, "-m", "headrace.gateway", "--routes", str(tmp_path / "r.json")]
    result = subprocess.run(
        [*command, "--port", "0", "--admin-port", "0", *given],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
