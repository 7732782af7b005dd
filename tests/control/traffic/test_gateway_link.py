"""The gateway's stats over real HTTP; recent ones are not read again."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from headrace.control.traffic.gateway_link import GatewayLink
from headrace.core.gateway.stats import GatewayStats

STATS = GatewayStats(7, 12.5, {}, {})


class Gateway:
    def __init__(self) -> None:
        self.num_requests = 0
        self.body = msgspec.json.encode(STATS)
        self.now_s = 100.0

    async def respond(self, request: web.Request) -> web.Response:
        self.num_requests += 1
        return web.Response(body=self.body)


def run(scenario: Callable[[Gateway, GatewayLink], Awaitable[None]]) -> None:
    async def whole() -> None:
        gateway = Gateway()
        app = web.Application()
        app.router.add_get("/stats", gateway.respond)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        link = GatewayLink(f"http://127.0.0.1:{runner.addresses[0][1]}/", lambda: gateway.now_s)
        try:
            async with asyncio.timeout(60):
                await scenario(gateway, link)
        finally:
            await link.close()
            await runner.cleanup()

    asyncio.run(whole())


def test_recent_stats_are_those_that_were_read_last() -> None:
    async def scenario(gateway: Gateway, link: GatewayLink) -> None:
        assert await link.stats() == STATS
        gateway.now_s += 2.0
        recent = await link.recent(2.5)
        assert recent is not None
        assert (recent.at_s, recent.stats) == (100.0, STATS)
        assert gateway.num_requests == 1
        gateway.now_s += 1.0
        newer = await link.recent(2.5)
        assert newer is not None
        assert newer.at_s == 103.0
        assert gateway.num_requests == 2

    run(scenario)


def test_stats_that_cannot_be_read_are_none_however_recent_the_last_ones() -> None:
    async def scenario(gateway: Gateway, link: GatewayLink) -> None:
        await link.stats()
        gateway.body = b"{"
        gateway.now_s += 10.0
        assert await link.recent(2.5) is None
        assert await link.stats() is None

    run(scenario)
