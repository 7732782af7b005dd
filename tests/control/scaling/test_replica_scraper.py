"""Pages over real HTTP: concurrent, bounded in time, and none is read twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from headrace.control.scaling.replica_scraper import ReplicaScraper

PAGE = "vllm:num_requests_waiting{} 3\nvllm:generation_tokens_total{} 7\n"


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Replicas:
    """A server whose pages are replicas; it counts the requests of each."""

    def __init__(self) -> None:
        self.num_requests: dict[str, int] = {}
        self.may_respond = asyncio.Event()
        self.may_respond.set()
        self.url = ""

    async def respond(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.num_requests[name] = self.num_requests.get(name, 0) + 1
        await self.may_respond.wait()
        if name == "missing":
            return web.Response(status=404)
        if name == "huge":
            return web.Response(text="x" * (5 * 1024 * 1024))
        return web.Response(text="other_metric 1\n" if name == "other" else PAGE)

    def urls(self, *names: str) -> dict[str, str]:
        return {name: f"{self.url}/{name}" for name in names}


@asynccontextmanager
async def serving() -> AsyncIterator[Replicas]:
    replicas = Replicas()
    app = web.Application()
    app.router.add_get("/{name}", replicas.respond)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    replicas.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield replicas
    finally:
        await runner.cleanup()


def run(scenario: Callable[[Replicas, ReplicaScraper, Clock], Awaitable[None]]) -> None:
    async def whole() -> None:
        clock = Clock()
        scraper = ReplicaScraper(clock)
        async with serving() as replicas, asyncio.timeout(60):
            try:
                await scenario(replicas, scraper, clock)
            finally:
                await scraper.close()

    asyncio.run(whole())


def test_replicas_without_a_valid_page_are_left_out() -> None:
    async def scenario(replicas: Replicas, scraper: ReplicaScraper, clock: Clock) -> None:
        urls = replicas.urls("good", "missing", "other", "huge")
        found = await scraper.scrape({**urls, "refused": "http://127.0.0.1:1/metrics"})
        assert list(found) == ["good"]
        assert found["good"].page.generation_tokens_total == 7
        assert found["good"].at_s == clock.now_s

    run(scenario)


def test_a_recent_page_is_not_read_again() -> None:
    async def scenario(replicas: Replicas, scraper: ReplicaScraper, clock: Clock) -> None:
        urls = replicas.urls("a")
        first = await scraper.scrape(urls)
        clock.now_s += 2.0
        assert await scraper.scrape({**urls, **replicas.urls("b")}, max_age_s=2.5) != first
        assert replicas.num_requests == {"a": 1, "b": 1}
        clock.now_s += 1.0
        assert (await scraper.scrape(urls, max_age_s=2.5))["a"].at_s == clock.now_s
        assert replicas.num_requests["a"] == 2

    run(scenario)


def test_concurrent_scrapes_of_a_replica_are_one() -> None:
    async def scenario(replicas: Replicas, scraper: ReplicaScraper, clock: Clock) -> None:
        urls = replicas.urls("a", "b")
        replicas.may_respond.clear()
        both = asyncio.gather(scraper.scrape(urls), scraper.scrape(urls))
        while len(replicas.num_requests) < 2:
            await asyncio.sleep(0.01)
        replicas.may_respond.set()
        first, second = await both
        assert first == second
        assert replicas.num_requests == {"a": 1, "b": 1}

    run(scenario)


def test_one_caller_that_gives_up_does_not_take_the_page_from_another() -> None:
    async def scenario(replicas: Replicas, scraper: ReplicaScraper, clock: Clock) -> None:
        replicas.may_respond.clear()
        impatient = asyncio.create_task(scraper.scrape(replicas.urls("a")))
        patient = asyncio.create_task(scraper.scrape(replicas.urls("a")))
        while not replicas.num_requests:
            await asyncio.sleep(0.01)
        impatient.cancel()
        replicas.may_respond.set()
        assert list(await patient) == ["a"]

    run(scenario)


def test_a_replica_that_does_not_respond_delays_no_other_for_long() -> None:
    async def scenario(replicas: Replicas, scraper: ReplicaScraper, clock: Clock) -> None:
        replicas.may_respond.clear()
        began_s = asyncio.get_running_loop().time()
        assert await scraper.scrape(replicas.urls("a", "b", "c")) == {}
        assert asyncio.get_running_loop().time() - began_s < 30
        replicas.may_respond.set()

    run(scenario)
