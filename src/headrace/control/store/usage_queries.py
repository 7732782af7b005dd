"""Queries for the usage by day, service, API key and model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import msgspec
from sqlalchemy import Connection, func, select

from headrace.control.store.tables import usage, usage_baseline
from headrace.core.gateway.usage import GatewayUsage, UsageCounts


class UsageField(StrEnum):
    """What usage can be grouped by."""

    DAY = "day"
    SERVICE = "service"
    KEY = "key"
    MODEL = "model"


COLUMNS = {
    UsageField.DAY: usage.c.day,
    UsageField.SERVICE: usage.c.service,
    UsageField.KEY: usage.c.key_name,
    UsageField.MODEL: usage.c.model,
}
COUNTS = tuple(usage.c[name] for name in UsageCounts.__struct_fields__)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The usage of one group."""

    group: Mapping[UsageField, str]
    counts: UsageCounts


class UsageQueries:
    """Queries of one transaction, as in `Queries`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sums(
        self,
        by: Sequence[UsageField],
        first: date,
        last: date,
        only: Mapping[UsageField, str],
        limit: int,
    ) -> list[UsageRow]:
        """The usage of ``[first, last]``; with days the latest first, and most tokens first.

        ``only``: fields that must have these values.
        """
        groups = [COLUMNS[one] for one in by]
        sums = [func.sum(column).label(column.name) for column in COUNTS]
        tokens = func.sum(usage.c.prompt_tokens) + func.sum(usage.c.completion_tokens)
        query = (
            select(*groups, *sums)
            .where(usage.c.day >= first.isoformat(), usage.c.day <= last.isoformat())
            .where(*(COLUMNS[name] == value for name, value in only.items()))
            .group_by(*groups)
        )
        if UsageField.DAY in by:
            query = query.order_by(usage.c.day.desc())
        query = query.order_by(tokens.desc(), *groups).limit(limit)
        return [
            UsageRow(
                dict(zip(by, row, strict=False)),
                UsageCounts(*(int(value or 0) for value in row[len(by) :])),
            )
            for row in self._connection.execute(query)
        ]

    def baseline(self) -> GatewayUsage | None:
        """What was last added."""
        row = self._connection.execute(select(usage_baseline)).one_or_none()
        if row is None:
            return None
        return msgspec.convert({"gateway_id": row.gateway_id, "totals": row.totals}, GatewayUsage)

    def num_rows(self) -> int:
        return self._connection.execute(select(func.count()).select_from(usage)).scalar_one()

    def oldest_day(self) -> str | None:
        day: str | None = self._connection.execute(select(func.min(usage.c.day))).scalar_one()
        return day
