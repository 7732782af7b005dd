"""Usage: requests and tokens by day, service, API key and model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from headrace.control.api.context import Context, ContextDep
from headrace.control.operations.usage import first_day, read_usage
from headrace.control.store.usage_queries import UsageField, UsageRow
from headrace.core.gateway.usage import UsageCounts
from headrace.dashboard.rendering import render_page

router = APIRouter()

PERIODS = {"7": "Last 7 days", "30": "Last 30 days", "90": "Last 90 days"}
"""By their numbers of days."""

_MAX_NUM_ROWS = 100
"""Of one table."""
_TABLES = {
    UsageField.KEY: "API key",
    UsageField.SERVICE: "Service",
    UsageField.MODEL: "Model",
}

_Text = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True, slots=True)
class UsageTable:
    """The usage by one field, most tokens first."""

    title: str
    field: UsageField
    rows: list[UsageRow]


@dataclass(frozen=True, slots=True)
class DayBar:
    """One day of the chart."""

    day: date
    counts: UsageCounts
    prompt_percent: float
    """Height, of the highest day's tokens."""
    completion_percent: float


@router.get("/usage")
def show_usage(
    request: Request,
    context: ContextDep,
    days: _Text = "30",
    service: _Text = "",
    key: _Text = "",
    model: _Text = "",
) -> Response:
    """Tables, and a chart of the tokens of each day. Usage of deleted services is included."""
    if days not in PERIODS:
        raise HTTPException(422, f"The number of days must be one of {', '.join(PERIODS)}.")
    last = context.now().date()
    first = first_day(last, int(days))
    given = {UsageField.SERVICE: service, UsageField.KEY: key, UsageField.MODEL: model}
    only = {name: value.strip() for name, value in given.items() if value.strip()}

    def rows_by(*by: UsageField, limit: int = _MAX_NUM_ROWS) -> list[UsageRow]:
        return read_usage(context.store, by=by, first=first, last=last, only=only, limit=limit)

    total = rows_by()
    return render_page(
        request,
        "usage/usage.html",
        tables=[UsageTable(title, field, rows_by(field)) for field, title in _TABLES.items()],
        bars=_bars(rows_by(UsageField.DAY), first, last),
        total=total[0].counts if total else UsageCounts(),
        first=first,
        last=last,
        periods=PERIODS,
        days=days,
        filters=only,
        services=_services(context),
        max_num_rows=_MAX_NUM_ROWS,
    )


def _bars(rows: Sequence[UsageRow], first: date, last: date) -> list[DayBar]:
    """One for each day, oldest first."""
    by_day = {row.group[UsageField.DAY]: row.counts for row in rows}
    days = [date.fromordinal(one) for one in range(first.toordinal(), last.toordinal() + 1)]
    found = [(day, by_day.get(day.isoformat(), UsageCounts())) for day in days]
    highest = max(one.prompt_tokens + one.completion_tokens for _, one in found) or 1
    return [
        DayBar(
            day,
            counts,
            100 * counts.prompt_tokens / highest,
            100 * counts.completion_tokens / highest,
        )
        for day, counts in found
    ]


def _services(context: Context) -> list[str]:
    with context.store.read() as queries:
        return [service.name for service in queries.services()]
