"""Responses that are forwarded from a scripted server, through a real server."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from fastapi import FastAPI, Request

from headrace.dashboard.forwarded_response import ForwardedResponse
from headrace.listen.sockets import base_url
from headrace.testing.servers.scripted_server import Reply, ScriptedServer, Then

TIMEOUT_S = 30.0
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST = b"8\r\ndata: 1\n\r\n"


@asynccontextmanager
async def forwarding(*replies: Reply) -> AsyncIterator[tuple[ScriptedServer, str]]:
    """A server that forwards what the scripted one replies; its address."""
    async with ScriptedServer(replies) as origin:
        app = FastAPI()

        @app.post("/")
        async def forward(request: Request) -> ForwardedResponse:
            headers = {"Content-Type": "application/json"}
            return ForwardedResponse(f"{origin.base_url}/x", await request.body(), headers)

        sock = _bound()
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([sock]))
        try:
            await _until(lambda: server.started)
            yield origin, base_url(sock, "http")
        finally:
            server.should_exit = True
            await task
            sock.close()


def test_a_stream_is_forwarded_as_it_arrives() -> None:
    async def check() -> None:
        reply = Reply((HEAD, FIRST), Then.HANG)
        async with forwarding(reply) as (origin, url), aiohttp.ClientSession() as session:
            async with session.post(url, data=b'{"a": 1}') as response:
                assert response.status == 200
                assert response.content_type == "text/event-stream"
                assert await response.content.readexactly(8) == b"data: 1\n"
            assert origin.requests[0].json == {"a": 1}
            await _until_closed(origin)

    asyncio.run(check())


def test_a_client_that_leaves_before_the_response_ends_the_request() -> None:
    async def check() -> None:
        async with forwarding(Reply((b"",), Then.HANG)) as (origin, url):
            async with aiohttp.ClientSession() as session:
                task = asyncio.create_task(session.post(url, data=b"{}").__aenter__())
                await _until(lambda: len(origin.requests) == 1)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await _until_closed(origin)

    asyncio.run(check())


def test_a_stream_that_breaks_ends_with_an_error_event() -> None:
    async def check() -> None:
        reply = Reply((HEAD, FIRST), Then.RESET)
        async with (
            forwarding(reply) as (_, url),
            aiohttp.ClientSession() as session,
            session.post(url, data=b"{}") as response,
        ):
            text = await response.text()
        assert '"type": "gateway_unavailable"' in text.rpartition("data: ")[2]
        assert text.endswith("\n\n")

    asyncio.run(check())


def test_a_page_that_a_browser_might_run_becomes_plain_text() -> None:
    async def check() -> None:
        body = b"<script>"
        head = b"HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 8\r\n\r\n"
        async with (
            forwarding(Reply((head + body,))) as (_, url),
            aiohttp.ClientSession() as session,
            session.post(url, data=b"{}") as response,
        ):
            assert response.status == 404
            assert response.content_type == "text/plain"
            assert await response.read() == body

    asyncio.run(check())


def test_an_unreachable_server_is_a_502() -> None:
    async def check() -> None:
        response = ForwardedResponse("http://127.0.0.1:1/", b"", {})
        sent = []

        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            return {}

        async def send(message) -> None:
            sent.append(message)

        await response({"type": "http"}, receive, send)
        assert sent[0]["status"] == 502
        assert b"headrace status" in sent[1]["body"]

    asyncio.run(check())


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


async def _until_closed(origin: ScriptedServer) -> None:
    await _until(lambda: origin.num_open == 0)


async def _until(condition) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
