"""Scrapes the ``/metrics`` pages of replicas. One scrape serves autoscaling and history."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.control.manifests.revision import RevisionSpec
from headrace.control.processes.local_http import LocalHttpClient
from headrace.control.resources import Replica
from headrace.control.scaling.replica_metrics import ReplicaPage, parse_page

_TIMEOUT_S = 2.0
_MAX_PAGE_BYTES = 4 * 1024 * 1024
_MAX_AGE_S = 60.0
"""How long the last page of a replica is held."""


@dataclass(frozen=True, slots=True)
class PageScrape:
    """A page and when it arrived."""

    at_s: float
    """Of the scraper's clock, which is monotonic."""
    page: ReplicaPage


def metrics_url(replica: Replica, spec: RevisionSpec) -> str | None:
    """The first of the revision's ``monitoring``, or ``/metrics`` on its API's port."""
    declared, path = spec.exposed_port, "/metrics"
    if spec.monitoring:
        declared, path = spec.monitoring[0].port, spec.monitoring[0].path
    port = replica.host_ports.get(declared)
    return None if port is None else f"http://127.0.0.1:{port}{path}"


class ReplicaScraper:
    """Stores the last page of each replica. Close it at the end."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._http = LocalHttpClient(_TIMEOUT_S)
        self._last: dict[str, PageScrape] = {}
        self._running: dict[str, asyncio.Task[PageScrape | None]] = {}

    async def scrape(
        self, urls: Mapping[str, str], max_age_s: float = 0.0
    ) -> dict[str, PageScrape]:
        """By replica id. Concurrent; takes the last page of a replica if it is recent enough.

        Replicas that do not respond, or export none of the metrics, are left out.
        """
        self._drop_old()
        ids = list(urls)
        found = await asyncio.gather(
            *(self._scrape(replica_id, urls[replica_id], max_age_s) for replica_id in ids)
        )
        return {
            replica_id: scraped
            for replica_id, scraped in zip(ids, found, strict=True)
            if scraped is not None
        }

    async def close(self) -> None:
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._http.close()

    async def _scrape(self, replica_id: str, url: str, max_age_s: float) -> PageScrape | None:
        last = self._last.get(replica_id)
        if last is not None and self._clock_s() - last.at_s < max_age_s:
            return last
        task = self._running.get(replica_id)
        if task is None:
            task = asyncio.create_task(self._fetch(replica_id, url))
            self._running[replica_id] = task
            task.add_done_callback(lambda _: self._running.pop(replica_id, None))
        return await asyncio.shield(task)  # another caller may wait for it too

    async def _fetch(self, replica_id: str, url: str) -> PageScrape | None:
        body = await self._http.get(url, max_num_bytes=_MAX_PAGE_BYTES)
        page = None if body is None else parse_page(body.decode(errors="replace"))
        if page is None:
            return None
        scraped = self._last[replica_id] = PageScrape(self._clock_s(), page)
        return scraped

    def _drop_old(self) -> None:
        now_s = self._clock_s()
        for replica_id, scraped in list(self._last.items()):
            if now_s - scraped.at_s > _MAX_AGE_S:
                del self._last[replica_id]
