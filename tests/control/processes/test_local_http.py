import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from headrace.control.processes.local_http import LocalHttpClient
from headrace.listen.embedded_server import EmbeddedServer

MAX_NUM_BYTES = 100
Get = Callable[[str], Awaitable[bytes | None]]


async def page(request: Request) -> Response:
    response = PlainTextResponse(f"cookies: {len(request.cookies)}")
    response.set_cookie("session", "1")
    return response


async def redirect(request: Request) -> Response:
    return RedirectResponse("/page")


async def long(request: Request) -> Response:
    return PlainTextResponse("x" * (MAX_NUM_BYTES + 1))


async def error(request: Request) -> Response:
    return PlainTextResponse("page", 500)


async def hang(request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


ENDPOINTS = (page, redirect, long, error, hang)


def run(scenario: Callable[[Get], Awaitable[None]], timeout_s: float = 60.0) -> None:
    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        routes = [Route(f"/{endpoint.__name__}", endpoint) for endpoint in ENDPOINTS]
        server = EmbeddedServer(Starlette(routes=routes))
        client = LocalHttpClient(timeout_s)
        await server.start(listener)
        try:
            await scenario(lambda path: client.get(address + path, max_num_bytes=MAX_NUM_BYTES))
        finally:
            await client.close()
            await server.close()

    asyncio.run(main())


def test_cookies_are_not_stored() -> None:
    async def scenario(get: Get) -> None:
        assert await get("/page") == b"cookies: 0"
        assert await get("/page") == b"cookies: 0"

    run(scenario)


def test_redirects_are_followed() -> None:
    async def scenario(get: Get) -> None:
        assert await get("/redirect") == b"cookies: 0"

    run(scenario)


@pytest.mark.parametrize("path", ["/long", "/error", "/missing"])
def test_only_a_200_response_within_the_limit_counts(path: str) -> None:
    async def scenario(get: Get) -> None:
        assert await get(path) is None

    run(scenario)


def test_a_request_times_out() -> None:
    async def scenario(get: Get) -> None:
        assert await get("/hang") is None

    run(scenario, timeout_s=0.05)


def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def scenario(get: Get) -> None:
        assert await get("/page") == b"cookies: 0"

    run(scenario)


def test_a_refused_connection_is_no_response() -> None:
    async def main() -> None:
        client = LocalHttpClient(60.0)
        assert await client.get("http://127.0.0.1:1/", max_num_bytes=1) is None
        await client.close()

    asyncio.run(main())
