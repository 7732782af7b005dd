"""Adds what the gateway counts by service, API key and model to the usage of the day.

Each count is added once, though the control plane is restarted: what was added is stored in the
same transaction. What a gateway counted after the last pass before it ended is lost.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from headrace.control.log_on_change import ChangeLogger
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction
from headrace.control.traffic.gateway_link import GatewayLink
from headrace.core.gateway.usage import GatewayUsage, UsageCounts, UsageKey

RETENTION_DAYS = 90
MAX_NUM_ROWS = 200_000
"""Of all days together; the oldest days are removed first."""

logger = logging.getLogger("headrace.control")

_INTERVAL_S = 15.0
_NOTHING = UsageCounts()


class UsageRecorder:
    """``await run()`` until cancelled."""

    def __init__(
        self,
        store: Store,
        gateway: GatewayLink,
        clock: Callable[[], datetime],
        max_num_rows: int = MAX_NUM_ROWS,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._clock = clock
        self._max_num_rows = max_num_rows
        self._last: GatewayUsage | None = None
        self._retained_on = ""
        """The day of the last retention."""
        self._log = ChangeLogger(logger)

    async def run(self) -> None:
        """Never raises for errors of the database or the gateway."""
        while True:
            await self.run_pass()
            await asyncio.sleep(_INTERVAL_S)

    async def run_pass(self) -> None:
        """Add what was counted since the last pass. Days are those of UTC."""
        try:
            usage = await self._gateway.usage()
            if usage is not None and usage != self._last:
                await asyncio.to_thread(self._add, usage)
                self._last = usage
        except Exception as error:
            self._log.failed("usage", f"{type(error).__name__}: {error}")
        else:
            self._log.succeeded("usage")

    def _add(self, usage: GatewayUsage) -> None:
        today = self._clock().astimezone(UTC).date()
        day = today.isoformat()
        with self._store.begin() as tx:
            added = increase_since(tx.usage.baseline(), usage)
            if added:
                tx.add_usage(day, added)
            tx.save_usage_baseline(usage)
            if added and day != self._retained_on:
                self._retain(tx, (today - timedelta(days=RETENTION_DAYS - 1)).isoformat())
        self._retained_on = day

    def _retain(self, tx: Transaction, first_day: str) -> None:
        tx.remove_usage_before(first_day)
        while tx.usage.num_rows() > self._max_num_rows:
            oldest = tx.usage.oldest_day()
            assert oldest is not None
            tx.remove_usage_before(f"{oldest}~")  # after it, and before the next day


def increase_since(
    baseline: GatewayUsage | None, usage: GatewayUsage
) -> Mapping[UsageKey, UsageCounts]:
    """What was counted in between, without what did not change."""
    before: dict[UsageKey, UsageCounts] = {}
    if baseline is not None and baseline.gateway_id == usage.gateway_id:
        before = {total.key: total.counts for total in baseline.totals}
    increases = {
        total.key: total.counts.since(before.get(total.key, _NOTHING)) for total in usage.totals
    }
    return {key: counts for key, counts in increases.items() if counts != _NOTHING}
