"""What goes in comes out, on both databases."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest

from headrace.control.errors import ConflictError, NotFoundError
from headrace.control.resources import (
    REPLICA_CHANGES,
    RUN_CHANGES,
    Event,
    Gateway,
    GatewayStatus,
    ProcessHandle,
    Replica,
    ReplicaState,
    RevisionPhase,
    Role,
    Run,
    RunState,
    Service,
    ServiceKey,
    Target,
    Token,
)
from headrace.control.store.store import Store

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
LATER = NOW + timedelta(seconds=7)


def make_replica(replica_id: str = "openllm-1-abcde", **changes: object) -> Replica:
    replica = Replica(replica_id, "openllm", 1, ReplicaState.PENDING, NOW, NOW)
    return replace(replica, **changes)  # type: ignore[arg-type]


def make_run(run_id: str = "369367189168", **changes: object) -> Run:
    run = Run(run_id, "job", {"run": [{"command": "true"}]}, RunState.PENDING, NOW, NOW)
    return replace(run, **changes)  # type: ignore[arg-type]


@pytest.fixture
def deployed(store: Store) -> Store:
    """With one service of one revision."""
    with store.begin() as tx:
        tx.add_service(Service("openllm", NOW))
        tx.add_revision("openllm", {"message": "first"}, 1, NOW)
    return store


def test_services_are_listed_by_name(store: Store) -> None:
    with store.begin() as tx:
        tx.add_service(Service("b", NOW))
        tx.add_service(Service("a", LATER))
    with store.read() as queries:
        assert queries.services() == [Service("a", LATER), Service("b", NOW)]
        assert queries.service("a") == Service("a", LATER)
        assert queries.service("c") is None


def test_a_service_is_added_once(deployed: Store) -> None:
    with (
        pytest.raises(ConflictError, match="already a service 'openllm'"),
        deployed.begin() as tx,
    ):
        tx.add_service(Service("openllm", LATER))


def test_moments_keep_their_instant_whatever_their_zone(store: Store) -> None:
    seoul = NOW.astimezone(timezone(timedelta(hours=9)))
    with store.begin() as tx:
        tx.add_service(Service("a", seoul))
    with store.read() as queries:
        service = queries.service("a")
    assert service is not None
    assert service.created_at == seoul
    assert service.created_at.tzinfo is UTC


def test_a_moment_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="without a time zone"), store.begin() as tx:
        tx.add_service(Service("a", NOW.replace(tzinfo=None)))


def test_revisions_are_numbered_from_1_in_each_service(deployed: Store) -> None:
    with deployed.begin() as tx:
        tx.add_service(Service("other", NOW))
        assert tx.add_revision("openllm", {}, 2, LATER).number == 2
        assert tx.add_revision("other", {}, 0, LATER).number == 1
    with deployed.read() as queries:
        assert [(one.service, one.number) for one in queries.revisions()] == [
            ("openllm", 1),
            ("openllm", 2),
            ("other", 1),
        ]
        assert len(queries.revisions("openllm")) == 2
        second = queries.revision("openllm", 2)
        assert second is not None
        assert second.num_desired_replicas == 2
        assert second.phase is RevisionPhase.ACTIVE
        assert queries.revision("openllm", 3) is None


def test_a_spec_keeps_its_order_and_every_character(deployed: Store) -> None:
    spec = {"z": 1, "a": {"한글": "\U0001f600 \u0000", "none": None, "list": [1.5, True, "x"]}}
    with deployed.begin() as tx:
        number = tx.add_revision("openllm", spec, 1, NOW).number
    with deployed.read() as queries:
        revision = queries.revision("openllm", number)
    assert revision is not None
    assert revision.spec == spec
    assert list(revision.spec) == ["z", "a"]


def test_a_revision_changes_in_phase_and_number_alone(deployed: Store) -> None:
    with deployed.begin() as tx:
        tx.set_phase("openllm", 1, RevisionPhase.TERMINATING)
        tx.set_num_desired("openllm", 1, 5)
        changed = tx.revision("openllm", 1)
        assert changed is not None
        assert (changed.phase, changed.num_desired_replicas) == (RevisionPhase.TERMINATING, 5)
        with pytest.raises(NotFoundError, match="Revision 9 of service"):
            tx.set_phase("openllm", 9, RevisionPhase.TERMINATED)
        with pytest.raises(NotFoundError, match="Service 'x' not found"):
            tx.add_revision("x", {}, 1, NOW)


def test_a_replica_keeps_all_that_is_known_of_it(deployed: Store) -> None:
    replica = make_replica(
        cause="It was asked for.",
        process=ProcessHandle(2**31 + 5, 1767225600.1234567),
        host_ports={3000: 41234, 9090: 41235},
        log_path="/somewhere/log",
    )
    with deployed.begin() as tx:
        tx.add_replica(replica)
    with deployed.read() as queries:
        assert queries.replica(replica.replica_id) == replica
        assert queries.replica("openllm-1-zzzzz") is None


def test_replicas_are_found_by_service_revision_and_life(deployed: Store) -> None:
    with deployed.begin() as tx:
        tx.add_revision("openllm", {}, 1, NOW)
        tx.add_replica(make_replica("b", created_at=LATER))
        tx.add_replica(make_replica("a", state=ReplicaState.STOPPED))
        tx.add_replica(make_replica("c", revision=2, state=ReplicaState.FAILED))
        tx.add_replica(make_replica("d", revision=2, state=ReplicaState.DRAINING))
    with deployed.read() as queries:
        assert [one.replica_id for one in queries.replicas()] == ["a", "c", "d", "b"]
        assert [one.replica_id for one in queries.replicas("openllm", 1)] == ["a", "b"]
        assert [one.replica_id for one in queries.replicas(live_only=True)] == ["d", "b"]
        assert queries.replicas("other") == []


def test_a_replica_changes_only_from_what_is_expected(deployed: Store) -> None:
    handle = ProcessHandle(77, 1.5)
    with deployed.begin() as tx:
        tx.add_replica(make_replica(cause="It was asked for."))
        assert tx.change_replica(
            "openllm-1-abcde",
            ReplicaState.PENDING,
            ReplicaState.STARTING,
            LATER,
            process=handle,
            host_ports={3000: 1024},
            log_path="/log",
        )
        changed = tx.replica("openllm-1-abcde")
        assert changed == make_replica(
            state=ReplicaState.STARTING,
            changed_at=LATER,
            cause="It was asked for.",
            process=handle,
            host_ports={3000: 1024},
            log_path="/log",
        )
        # Somebody who has not seen that change comes too late.
        assert not tx.change_replica(
            "openllm-1-abcde", ReplicaState.PENDING, ReplicaState.FAILED, LATER, cause="late"
        )
        assert tx.replica("openllm-1-abcde") == changed
        assert not tx.change_replica(
            "nobody", ReplicaState.PENDING, ReplicaState.FAILED, LATER, cause="?"
        )


def test_a_process_is_noted_without_a_change_of_state(deployed: Store) -> None:
    handle = ProcessHandle(77, 1.5)
    with deployed.begin() as tx:
        tx.add_replica(make_replica())
        assert tx.set_replica_process("openllm-1-abcde", handle, host_ports={3000: 1024})
        noted = make_replica(process=handle, host_ports={3000: 1024})
        assert tx.replica("openllm-1-abcde") == noted
        assert not tx.set_replica_process("nobody", handle)


def test_replicas_follow_the_table_of_changes(deployed: Store) -> None:
    for before, after in product(ReplicaState, ReplicaState):
        replica_id = f"{before}-{after}"
        with deployed.begin() as tx:
            tx.add_replica(make_replica(replica_id, state=before))
            if after in REPLICA_CHANGES[before]:
                assert tx.change_replica(replica_id, before, after, LATER)
            else:
                with pytest.raises(ValueError, match=f"Invalid transition .*: {before} to {after}"):
                    tx.change_replica(replica_id, before, after, LATER)
            found = tx.replica(replica_id)
            assert found is not None
            assert found.state is (after if after in REPLICA_CHANGES[before] else before)


def test_runs_follow_the_table_of_changes(store: Store) -> None:
    for before, after in product(RunState, RunState):
        run_id = f"{before}-{after}"
        is_note = before is after and bool(RUN_CHANGES[before])
        is_allowed = is_note or after in RUN_CHANGES[before]
        with store.begin() as tx:
            tx.add_run(make_run(run_id, state=before))
            if is_allowed:
                assert tx.change_run(run_id, before, after, LATER, exit_code=3)
            else:
                with pytest.raises(ValueError, match=f"Invalid transition .*: {before} to {after}"):
                    tx.change_run(run_id, before, after, LATER, exit_code=3)
            found = tx.run(run_id)
            assert found is not None
            assert found.state is (after if is_allowed else before)
            assert found.changed_at == (LATER if is_allowed and not is_note else NOW)
            assert found.exit_code == (3 if is_allowed else None)


def test_a_replica_needs_its_revision(deployed: Store) -> None:
    with pytest.raises(ConflictError, match="concurrent change"), deployed.begin() as tx:
        tx.add_replica(make_replica(revision=9))


def test_causes_may_quote_any_log(deployed: Store) -> None:
    with deployed.begin() as tx:
        tx.add_replica(make_replica(cause="a\0b\udcffc"))
        tx.add_event(Event(NOW, "replica x", "failed", "a\0b\ud800c"))
    with deployed.read() as queries:
        replica = queries.replica("openllm-1-abcde")
        assert replica is not None
        assert replica.cause == "a\ufffdb\ufffdc"
        assert queries.events()[0].why == "a\ufffdb\ufffdc"


def test_a_gateway_is_replaced_as_a_whole(deployed: Store) -> None:
    gateway = Gateway(
        service="openllm",
        is_enabled=True,
        targets=(Target(1, 3000, 50), Target(2, 3000, 50)),
        applied_targets=(Target(1, 3000, 100),),
        status=GatewayStatus.PENDING,
        message="Traffic stays as it was until revision 2 is ready.",
        options={"sticky": {"header": "X-Session"}},
        updated_at=NOW,
    )
    with deployed.begin() as tx:
        assert tx.gateway("openllm") is None
        tx.save_gateway(gateway)
        assert tx.gateway("openllm") == gateway
        changed = replace(gateway, targets=(), is_enabled=False, updated_at=LATER)
        tx.save_gateway(changed)
        assert tx.gateways() == [changed]


def test_a_run_goes_from_state_to_state(store: Store) -> None:
    handle = ProcessHandle(5, 2.5)
    with store.begin() as tx:
        tx.add_run(make_run())
        assert tx.change_run(
            "369367189168", RunState.PENDING, RunState.IMPORTING, LATER, folder="/runs/x"
        )
        assert tx.change_run(
            "369367189168",
            RunState.IMPORTING,
            RunState.RUNNING,
            LATER,
            process=handle,
            host_ports={8000: 8000},
        )
        noted_at = LATER + timedelta(seconds=1)
        assert tx.change_run(
            "369367189168", RunState.RUNNING, RunState.RUNNING, noted_at, exit_code=0
        )
        assert not tx.change_run("369367189168", RunState.PENDING, RunState.FAILED, LATER)
        assert tx.run("369367189168") == make_run(
            state=RunState.RUNNING,
            changed_at=LATER,
            folder="/runs/x",
            process=handle,
            host_ports={8000: 8000},
            exit_code=0,
        )
        tx.add_run(make_run("100000000000", created_at=LATER, reproduced_from="369367189168"))
        assert [run.run_id for run in tx.runs()] == ["369367189168", "100000000000"]


def test_events_come_oldest_first_and_by_subject(store: Store) -> None:
    with store.begin() as tx:
        for number in range(6):
            service = "a" if number % 2 == 0 else "b"
            run_id = "369367189168" if number == 5 else None
            tx.add_event(Event(NOW, "x", str(number), "why", service=service, run_id=run_id))
    with store.read() as queries:
        everything = queries.events()
        assert [event.what for event in everything] == list("012345")
        assert [event.what for event in queries.events(limit=2)] == list("45")
        assert [event.what for event in queries.events(service="a")] == list("024")
        assert [event.what for event in queries.events(run_id="369367189168")] == list("5")
        after = everything[2].event_id
        assert [event.what for event in queries.events(after_id=after)] == list("345")
        assert [event.what for event in queries.events(after_id=after, limit=1)] == list("3")
        assert [event.what for event in queries.events(before_id=after)] == list("01")
        assert [event.what for event in queries.events(before_id=after, limit=1)] == list("1")
        assert [event.what for event in queries.events(service="b", before_id=after)] == list("1")


def test_events_stay_when_their_service_goes(deployed: Store) -> None:
    key = ServiceKey("openllm", "ci", "aa", "hrk_1234", NOW)
    gateway = Gateway("openllm", True, (), (), GatewayStatus.SUCCESS, "", {}, NOW)
    with deployed.begin() as tx:
        tx.add_replica(make_replica())
        tx.add_service_key(key)
        tx.save_gateway(gateway)
        tx.add_event(Event(NOW, "service openllm", "created", "Asked for.", service="openllm"))
        tx.remove_service("openllm")
    with deployed.read() as queries:
        assert queries.services() == []
        assert queries.revisions() == []
        assert queries.replicas() == []
        assert queries.gateways() == []
        assert queries.service_keys() == []
        assert len(queries.events(service="openllm")) == 1


def test_tokens_are_found_by_their_hash_alone(store: Store) -> None:
    token = Token("ci", Role.VIEWER, NOW)
    with store.begin() as tx:
        tx.add_token(token, "ab" * 32)
        assert tx.tokens() == [token]
        assert tx.token_by_hash("ab" * 32) == token
        assert tx.token_by_hash("cd" * 32) is None
    with pytest.raises(ConflictError, match="already a token 'ci'"), store.begin() as tx:
        tx.add_token(token, "cd" * 32)
    with store.begin() as tx:
        assert tx.remove_token("ci")
        assert not tx.remove_token("ci")


def test_a_service_has_keys(deployed: Store) -> None:
    key = ServiceKey("openllm", "ci", "ab" * 32, "hrk_1234", NOW)
    with deployed.begin() as tx:
        tx.add_service_key(key)
        assert tx.service_keys("openllm") == [key]
        assert tx.service_keys("other") == []
    with pytest.raises(ConflictError, match="already has a key 'ci'"), deployed.begin() as tx:
        tx.add_service_key(key)
    with deployed.begin() as tx:
        assert tx.remove_service_key("openllm", "ci")
        assert not tx.remove_service_key("openllm", "ci")


def test_secrets_are_bytes_to_the_store(store: Store) -> None:
    with store.begin() as tx:
        tx.put_secret("HF_TOKEN", b"\x00\xff sealed", NOW)
        tx.put_secret("HF_TOKEN", b"sealed anew", LATER)
        tx.put_secret("A", b"x", LATER)
        assert tx.secret("HF_TOKEN") == b"sealed anew"
        assert tx.secret("B") is None
        assert tx.secret_names() == ["A", "HF_TOKEN"]
        assert tx.remove_secret("A")
        assert not tx.remove_secret("A")


def test_route_versions_only_grow(store: Store) -> None:
    with store.begin() as tx:
        assert tx.route_version() == 0
        assert tx.next_route_version() == 1
    with suppress(RuntimeError), store.begin() as tx:
        assert tx.next_route_version() == 2
        raise RuntimeError
    with store.begin() as tx:
        assert tx.next_route_version() == 2
        assert tx.route_version() == 2
