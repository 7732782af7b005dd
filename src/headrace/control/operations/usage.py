"""The usage of services, by day, API key and model."""

from collections.abc import Mapping, Sequence
from datetime import date

from headrace.control.store.store import Store
from headrace.control.store.usage_queries import UsageField, UsageRow


def first_day(last: date, num_days: int) -> date:
    """Of ``num_days`` days that end with ``last``."""
    return date.fromordinal(max(last.toordinal() - num_days + 1, 1))


def read_usage(
    store: Store,
    *,
    by: Sequence[UsageField],
    first: date,
    last: date,
    only: Mapping[UsageField, str] | None = None,
    limit: int = 1000,
) -> list[UsageRow]:
    """Of the days ``[first, last]``; deleted services and keys included."""
    with store.read() as queries:
        return queries.usage.sums(by, first, last, only or {}, limit)
