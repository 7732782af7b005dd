"""The usage recorder over a real store, with a scripted gateway and clock."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.control.history import usage_recorder
from headrace.control.history.usage_recorder import UsageRecorder
from headrace.control.operations.usage import read_usage
from headrace.control.store.store import Store
from headrace.control.store.usage_queries import UsageField
from headrace.control.traffic.gateway_link import GatewayLink
from headrace.core.gateway.usage import GatewayUsage, UsageCounts, UsageKey, UsageTotal

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = (UsageField.SERVICE, UsageField.KEY, UsageField.MODEL)
LAPTOP, CI = UsageKey("svc", "laptop", "m"), UsageKey("svc", "ci", "m")


class ScriptedGateway(GatewayLink):
    """Counts what the test adds."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.number = 0
        self.counts: dict[UsageKey, UsageCounts] = {}
        self.is_up = True

    def count(self, key: UsageKey, **counts: int) -> None:
        self.counts[key] = self.counts.get(key, UsageCounts()) + UsageCounts(**counts)

    def restart(self) -> None:
        self.number += 1
        self.counts.clear()

    async def usage(self) -> GatewayUsage | None:
        totals = tuple(UsageTotal(key, counts) for key, counts in self.counts.items())
        return GatewayUsage(f"gateway-{self.number}", totals) if self.is_up else None


class Clock:
    def __init__(self) -> None:
        self.at = BEGIN

    def now(self) -> datetime:
        return self.at


def open_store(folder: Path) -> Store:
    return Store.open(f"sqlite:///{folder}/state.db")


def record(recorder: UsageRecorder) -> None:
    asyncio.run(recorder.run_pass())


def used(store: Store, by: tuple[UsageField, ...] = ALL) -> dict[tuple[str, ...], UsageCounts]:
    rows = read_usage(store, by=by, first=date.min, last=date.max)
    return {tuple(row.group.values()): row.counts for row in rows}


def test_each_day_has_what_was_counted_on_it(tmp_path: Path) -> None:
    store, gateway, clock = open_store(tmp_path), ScriptedGateway(), Clock()
    recorder = UsageRecorder(store, gateway, clock.now)
    gateway.count(LAPTOP, num_requests=2, prompt_tokens=10, completion_tokens=4)
    record(recorder)
    clock.at += timedelta(days=1)
    gateway.count(LAPTOP, num_requests=1, num_errors=1)
    gateway.count(CI, num_requests=5)
    record(recorder)
    assert used(store, (UsageField.DAY, UsageField.KEY)) == {
        ("2026-03-01", "laptop"): UsageCounts(2, 0, 10, 4),
        ("2026-03-02", "laptop"): UsageCounts(1, 1),
        ("2026-03-02", "ci"): UsageCounts(5),
    }
    assert used(store, ()) == {(): UsageCounts(8, 1, 10, 4)}
    store.close()


def test_nothing_is_written_while_nothing_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, gateway = open_store(tmp_path), ScriptedGateway()
    recorder = UsageRecorder(store, gateway, Clock().now)
    gateway.count(CI, num_requests=1)
    record(recorder)
    monkeypatch.setattr(Store, "begin", lambda store: pytest.fail("a write"))
    record(recorder)
    gateway.is_up = False
    record(recorder)
    monkeypatch.undo()
    assert used(store) == {("svc", "ci", "m"): UsageCounts(1)}
    store.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([LAPTOP, CI]), st.integers(1, 5)),
        st.sampled_from(["record", "restart control plane", "restart gateway"]),
    ),
    max_size=20,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_every_count_is_added_once_whatever_restarts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[object]
) -> None:
    store, gateway = open_store(tmp_path_factory.mktemp("usage")), ScriptedGateway()
    recorder = UsageRecorder(store, gateway, Clock().now)
    expected: dict[tuple[str, ...], UsageCounts] = {}
    for step in steps:
        if isinstance(step, tuple):
            key, num = step
            gateway.count(key, num_requests=num, prompt_tokens=7 * num)
            label = (key.service, key.key, key.model)
            more = UsageCounts(num, prompt_tokens=7 * num)
            expected[label] = expected.get(label, UsageCounts()) + more
        elif step == "record":
            record(recorder)
        elif step == "restart control plane":
            recorder = UsageRecorder(store, gateway, Clock().now)
        else:
            record(recorder)
            gateway.restart()
    record(recorder)
    assert used(store) == expected
    store.close()


def test_old_days_are_removed(tmp_path: Path) -> None:
    store, gateway, clock = open_store(tmp_path), ScriptedGateway(), Clock()
    recorder = UsageRecorder(store, gateway, clock.now)
    for days in (0, 1, usage_recorder.RETENTION_DAYS):
        clock.at = BEGIN + timedelta(days=days)
        gateway.count(CI, num_requests=1)
        record(recorder)
    assert set(used(store, (UsageField.DAY,))) == {("2026-03-02",), ("2026-05-30",)}
    store.close()


def test_the_number_of_rows_is_bounded(tmp_path: Path) -> None:
    store, gateway, clock = open_store(tmp_path), ScriptedGateway(), Clock()
    recorder = UsageRecorder(store, gateway, clock.now, max_num_rows=5)
    for day in range(3):
        clock.at = BEGIN + timedelta(days=day)
        for number in range(3):
            gateway.count(UsageKey("svc", f"key-{number}", "m"), num_requests=1)
        record(recorder)
    assert set(used(store, (UsageField.DAY,))) == {("2026-03-03",)}
    store.close()


def test_counters_that_are_lower_than_before_were_reset() -> None:
    def usage(**counts: int) -> GatewayUsage:
        return GatewayUsage("g", (UsageTotal(CI, UsageCounts(**counts)),))

    increase = usage_recorder.increase_since
    expected: Mapping[UsageKey, UsageCounts] = {CI: UsageCounts(2, prompt_tokens=3)}
    assert increase(usage(num_requests=9), usage(num_requests=2, prompt_tokens=3)) == expected
