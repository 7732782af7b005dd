"""Probes replicas: one request over a connection of its own."""

import asyncio
from contextlib import suppress

from headrace.gateway.routing.ejection import ProbeOutcome

PROBE_TIMEOUT_S = 2.0

_REQUEST = b"GET /health HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n"
_MAX_NUM_LINE_BYTES = 1024


async def probe(host: str, port: int, timeout_s: float = PROBE_TIMEOUT_S) -> ProbeOutcome:
    """Whether it responds in time with a status below 500. A replica without /health is healthy
    too: its 404 shows that it is alive."""
    try:
        async with asyncio.timeout(timeout_s):
            status = await _status(host, port)
    except TimeoutError:
        return ProbeOutcome.UNRESPONSIVE
    except (OSError, ValueError, EOFError):
        return ProbeOutcome.UNHEALTHY
    return ProbeOutcome.HEALTHY if status < 500 else ProbeOutcome.UNHEALTHY


async def _status(host: str, port: int) -> int:
    reader, writer = await asyncio.open_connection(host, port, limit=_MAX_NUM_LINE_BYTES)
    try:
        writer.write(_REQUEST % f"{host}:{port}".encode())
        line = await reader.readuntil(b"\n")
        version, status, *_ = line.split()
        if not version.startswith(b"HTTP/"):
            raise ValueError(f"not an HTTP response: {version!r}")
        return int(status)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
