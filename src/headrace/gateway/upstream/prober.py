"""Asks replicas whether they are well, with a request of its own over a connection of its own.

Knows neither when to ask nor what follows from the answer.
"""

import asyncio
from contextlib import suppress

from headrace.gateway.routing.ejection import ProbeOutcome

PROBE_TIMEOUT_S = 2.0

_REQUEST = b"GET /health HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n"
_MAX_NUM_LINE_BYTES = 1024


async def probe(host: str, port: int, timeout_s: float = PROBE_TIMEOUT_S) -> ProbeOutcome:
    """Whether it answers in time, and not with a server's error. A replica without a /health is
    well too: its 404 shows that it lives."""
    try:
        async with asyncio.timeout(timeout_s):
            status = await _status(host, port)
    except TimeoutError:
        return ProbeOutcome.SILENT
    except (OSError, ValueError, EOFError):
        return ProbeOutcome.UNWELL
    return ProbeOutcome.WELL if status < 500 else ProbeOutcome.UNWELL


async def _status(host: str, port: int) -> int:
    reader, writer = await asyncio.open_connection(host, port, limit=_MAX_NUM_LINE_BYTES)
    try:
        writer.write(_REQUEST % f"{host}:{port}".encode())
        line = await reader.readuntil(b"\n")
        version, status, *_ = line.split()
        if not version.startswith(b"HTTP/"):
            raise ValueError(f"not an answer in HTTP: {version!r}")
        return int(status)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
