"""Whatever people ask for, in whatever order: the store keeps its promises."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.control.errors import ConflictError, NotFoundError
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.operations.gateways import update_gateway
from headrace.control.operations.keys import create_key, remove_key
from headrace.control.operations.revisions import create_revision, terminate_revision
from headrace.control.operations.runs import create_run, reproduce_run, terminate_run
from headrace.control.operations.services import create_service, delete_service
from headrace.control.operations.tokens import create_token, remove_token
from headrace.control.resources import (
    RUN_CHANGES,
    Event,
    Gateway,
    Revision,
    RevisionPhase,
    Role,
    Run,
    Service,
    ServiceKey,
    Token,
)
from headrace.control.store.database import open_engine
from headrace.control.store.store import Store
from headrace.control.store.tables import metadata

NOW = datetime(2026, 3, 1, tzinfo=UTC)

PHASE_CHANGES = {
    RevisionPhase.ACTIVE: {RevisionPhase.TERMINATING},
    RevisionPhase.TERMINATING: {RevisionPhase.TERMINATED},
    RevisionPhase.TERMINATED: set[RevisionPhase](),
}

Ask = Callable[[Store, datetime], object]

services = st.sampled_from(["a", "a", "b"])
numbers = st.integers(1, 3)
names = st.sampled_from(["x", "y"])


@dataclass(frozen=True)
class Snapshot:
    """All that people can ask to be changed, by the subject that its events have."""

    things: dict[str, Service | Revision | Gateway | Run | Token | ServiceKey]
    events: list[Event]


def snapshot(store: Store) -> Snapshot:
    things: dict[str, Any] = {}
    with store.read() as queries:
        things |= {f"service {one.name}": one for one in queries.services()}
        things |= {f"revision {one.service}/{one.number}": one for one in queries.revisions()}
        things |= {f"gateway {one.service}": one for one in queries.gateways()}
        things |= {f"run {one.run_id}": one for one in queries.runs()}
        things |= {f"token {one.name}": one for one in queries.tokens()}
        things |= {f"key {one.service}/{one.name}": one for one in queries.service_keys()}
        return Snapshot(things, queries.events(limit=10_000))


@st.composite
def gateway_updates(draw: st.DrawFn) -> Ask:
    service = draw(services)
    wanted = draw(st.lists(numbers, min_size=1, max_size=3, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(wanted) - 1,
                                max_size=len(wanted) - 1)))  # fmt: skip
    weights = [high - low for low, high in zip([0, *cuts], [*cuts, 100], strict=True)]
    is_enabled = draw(st.booleans())
    lines = [
        f"- {{number: {number}, weight: {weight}}}\n"
        for number, weight in zip(wanted, weights, strict=True)
    ]
    text = f"enabled: {str(is_enabled).lower()}\ntargets:\n{''.join(lines)}"
    return lambda store, now: update_gateway(store, service, text, "g.yaml", now)


def finish_termination(store: Store, service: str, now: datetime) -> None:
    """As the controller does once the last replica is gone."""
    with store.begin() as tx:
        for revision in tx.revisions(service):
            if revision.phase is RevisionPhase.TERMINATING:
                tx.set_phase(service, revision.number, RevisionPhase.TERMINATED)
                subject = f"revision {service}/{revision.number}"
                tx.add_event(Event(now, subject, "terminated", "Gone.", service=service))


def with_some_run(ask: Callable[[Store, str, datetime], object], index: int) -> Ask:
    def with_it(store: Store, now: datetime) -> object:
        with store.read() as queries:
            runs = queries.runs()
        return ask(store, runs[index % len(runs)].run_id if runs else "none", now)

    return with_it


REVISION, RUN = "run: serve\nports: [3000]\n", "run: job\n"

asks: st.SearchStrategy[Ask] = st.one_of(
    services.map(lambda name: lambda store, now: create_service(store, name, now)),
    services.map(lambda name: lambda store, now: delete_service(store, name, now)),
    services.map(
        lambda name: lambda store, now: create_revision(store, name, REVISION, "v.yaml", now)
    ),
    st.tuples(services, numbers).map(
        lambda one: lambda store, now: terminate_revision(store, one[0], one[1], now)
    ),
    services.map(lambda name: lambda store, now: finish_termination(store, name, now)),
    gateway_updates(),
    st.just(lambda store, now: create_run(store, RUN, "r.yaml", now)),
    st.integers(0, 5).map(lambda index: with_some_run(reproduce_run, index)),
    st.integers(0, 5).map(lambda index: with_some_run(terminate_run, index)),
    st.tuples(names, st.sampled_from(Role)).map(
        lambda one: lambda store, now: create_token(store, one[0], one[1], now)
    ),
    names.map(lambda name: lambda store, now: remove_token(store, name, now)),
    st.tuples(services, names).map(
        lambda one: lambda store, now: create_key(store, one[0], one[1], now)
    ),
    st.tuples(services, names).map(
        lambda one: lambda store, now: remove_key(store, one[0], one[1], now)
    ),
)


@pytest.fixture
def cleared(store: Store, database_url: str) -> Callable[[], Store]:
    """The store, emptied anew for each example."""

    def clear() -> Store:
        engine = open_engine(database_url)
        with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        engine.dispose()
        return store

    return clear


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(asked=st.lists(asks, min_size=5, max_size=30))
def test_any_sequence_keeps_the_promises(cleared: Callable[[], Store], asked: list[Ask]) -> None:
    store = cleared()
    create_service(store, "a", NOW)
    for _ in range(3):
        create_revision(store, "a", REVISION, "v.yaml", NOW)
    highest = {"a": 3}
    before = snapshot(store)
    for index, ask in enumerate(asked):
        try:
            ask(store, NOW + timedelta(seconds=index))
        except (NotFoundError, ConflictError, ManifestError):
            assert snapshot(store) == before, "what is refused changes nothing"
            continue
        after = snapshot(store)
        _check_events(before, after)
        _check_changes(before, after)
        _check_numbers(before, after, highest)
        _check_gateways(after)
        before = after


def _check_events(before: Snapshot, after: Snapshot) -> None:
    assert after.events[: len(before.events)] == before.events, "events never change"
    told = {event.subject for event in after.events[len(before.events) :]}
    changed = {
        subject
        for subject in before.things.keys() | after.things.keys()
        if before.things.get(subject) != after.things.get(subject)
    }
    for service in (subject for subject in told if subject.startswith("service ")):
        name = service.removeprefix("service ")
        if service not in after.things:  # with all that it had
            changed = {one for one in changed if one.split(" ")[1].split("/")[0] != name}
    assert changed <= told, "every change has an event"


def _check_changes(before: Snapshot, after: Snapshot) -> None:
    for subject, was in before.things.items():
        now = after.things.get(subject)
        if isinstance(was, Revision) and isinstance(now, Revision) and was != now:
            assert now.phase in PHASE_CHANGES[was.phase]
            assert (was.spec, was.created_at) == (now.spec, now.created_at)
        if isinstance(was, Run):
            assert isinstance(now, Run), "runs are never forgotten"
            assert was.state is now.state or now.state in RUN_CHANGES[was.state]
            assert was.spec == now.spec


def _check_numbers(before: Snapshot, after: Snapshot, highest: dict[str, int]) -> None:
    for subject, thing in after.things.items():
        if isinstance(thing, Service) and subject not in before.things:
            highest[thing.name] = 0  # another service that has the same name
    for subject, thing in after.things.items():
        if isinstance(thing, Revision) and subject not in before.things:
            assert thing.number == highest[thing.service] + 1, "numbers are never reused"
            highest[thing.service] = thing.number


def _check_gateways(after: Snapshot) -> None:
    for thing in after.things.values():
        if not isinstance(thing, Gateway):
            continue
        if thing.targets:
            assert sum(target.weight for target in thing.targets) == 100
        for target in thing.targets:
            revision = after.things[f"revision {thing.service}/{target.number}"]
            assert isinstance(revision, Revision)
            assert revision.phase is RevisionPhase.ACTIVE
        assert len({(one.number, one.port) for one in thing.targets}) == len(thing.targets)
