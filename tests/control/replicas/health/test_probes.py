import asyncio
from collections.abc import Awaitable, Callable

import pytest

from headrace.control.replicas.health.probes import PortType, ProbeResult, Probes

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(status: str) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    return handle


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def probe(handler: Handler, port_type: PortType = "http", timeout_s: float = 60.0) -> ProbeResult:
    async def ask() -> ProbeResult:
        handled: list[asyncio.Task[None]] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            handled.append(asyncio.current_task())  # type: ignore[arg-type]
            await handler(reader, writer)
            await writer.wait_closed()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Probes() as probes:
            result = await probes.check(
                "127.0.0.1", port, path="/health", port_type=port_type, timeout_s=timeout_s
            )
        await asyncio.wait_for(asyncio.gather(*handled), 60)
        return result

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("status", "is_healthy"),
    [
        ("200 OK", True),
        ("204 No Content", True),
        ("404 Not Found", True),
        ("401 Unauthorized", True),
        ("503 Service Unavailable", False),
        ("500 Internal Server Error", False),
    ],
)
def test_health_is_what_the_page_or_the_port_says(status: str, is_healthy: bool) -> None:
    result = probe(answering(status))
    assert result.is_healthy is is_healthy
    assert not result.is_timeout
    assert status.split()[0] in result.why


def test_silence_is_not_health() -> None:
    assert probe(silent, timeout_s=0.05) == ProbeResult(
        False, "no response within 0.05 s", is_timeout=True
    )


def test_a_tcp_port_is_well_if_it_answers() -> None:
    assert probe(silent, port_type="tcp").is_healthy


@pytest.mark.parametrize("port_type", ["http", "tcp"])
def test_nothing_there_is_not_health(port_type: PortType) -> None:
    async def ask() -> ProbeResult:
        async with Probes() as probes:
            return await probes.check(
                "127.0.0.1", 1, path="/health", port_type=port_type, timeout_s=5
            )

    result = asyncio.run(ask())
    assert not result.is_healthy
    assert not result.is_timeout
