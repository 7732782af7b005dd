"""Usage on both databases."""

from datetime import date

from headrace.control.store.store import Store
from headrace.control.store.usage_queries import UsageField
from headrace.core.gateway.usage import GatewayUsage, UsageCounts, UsageKey, UsageTotal

CI = UsageKey("svc", "ci", "m\0odel")
NOBODY = UsageKey("svc", "", "")
FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)


def test_usage_of_the_same_key_is_added_up(store: Store) -> None:
    with store.begin() as tx:
        tx.add_usage("2026-01-31", {CI: UsageCounts(1, 0, 10, 2, 1), NOBODY: UsageCounts(4)})
        tx.add_usage("2026-01-31", {CI: UsageCounts(2, 1, 5)})
        tx.add_usage("2026-02-01", {CI: UsageCounts(7, prompt_tokens=2**40)})
    with store.read() as queries:
        rows = queries.usage.sums([UsageField.DAY, UsageField.KEY], FIRST, LAST, {}, 10)
        assert [(*row.group.values(), row.counts) for row in rows] == [
            ("2026-02-01", "ci", UsageCounts(7, prompt_tokens=2**40)),
            ("2026-01-31", "ci", UsageCounts(3, 1, 15, 2, 1)),
            ("2026-01-31", "", UsageCounts(4)),
        ]
        (row,) = queries.usage.sums([UsageField.MODEL], FIRST, FIRST.replace(month=2), {}, 1)
        assert row.counts == UsageCounts(10, 1, 15 + 2**40, 2, 1)
        only = {UsageField.KEY: ""}
        assert len(queries.usage.sums([UsageField.SERVICE], FIRST, LAST, only, 10)) == 1
        assert queries.usage.sums([UsageField.KEY], LAST, LAST, {}, 10) == []


def test_the_last_counters_that_were_added_are_stored(store: Store) -> None:
    for gateway_id in ("a", "b"):
        usage = GatewayUsage(gateway_id, (UsageTotal(CI, UsageCounts(1, 2, 3, 4, 5)),))
        with store.begin() as tx:
            tx.save_usage_baseline(usage)
        with store.read() as queries:
            assert queries.usage.baseline() == usage
