"""Services are made once, found by name, and removed when nothing of them runs."""

from datetime import UTC, datetime

import pytest

from headrace.control.errors import ConflictError, InvalidNameError, NotFoundError
from headrace.control.operations import revisions as revision_operations
from headrace.control.operations import services as operations
from headrace.control.resources import Replica, ReplicaState, RevisionPhase, Service
from headrace.control.store.store import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REVISION = "message: first\nrun: serve --port 3000\nports: [3000]\n"


def test_a_service_is_made_with_its_event(store: Store) -> None:
    service = operations.create_service(store, "openllm", NOW)
    assert service == Service("openllm", NOW)
    assert operations.list_services(store) == [service]
    assert operations.read_service(store, "openllm") == service
    with store.read() as queries:
        [event] = queries.events(service="openllm")
    assert (event.subject, event.what, event.at) == ("service openllm", "created", NOW)


def test_a_name_is_taken_once_and_checked(store: Store) -> None:
    operations.create_service(store, "openllm", NOW)
    with pytest.raises(ConflictError, match="already a service"):
        operations.create_service(store, "openllm", NOW)
    with pytest.raises(InvalidNameError, match="Try 'open-llm'"):
        operations.create_service(store, "Open LLM", NOW)
    with store.read() as queries:
        assert len(queries.events()) == 1


def test_what_is_not_there_is_said_kindly(store: Store) -> None:
    with pytest.raises(NotFoundError, match="headrace service create openllm"):
        operations.read_service(store, "openllm")
    with pytest.raises(NotFoundError, match="Service 'openllm' not found"):
        operations.delete_service(store, "openllm", NOW)


def test_a_service_goes_when_its_revisions_are_gone(store: Store) -> None:
    operations.create_service(store, "openllm", NOW)
    revision_operations.create_revision(store, "openllm", REVISION, "v1.yaml", NOW)
    with pytest.raises(ConflictError, match="revision terminate --service openllm -n 1"):
        operations.delete_service(store, "openllm", NOW)
    revision_operations.terminate_revision(store, "openllm", 1, NOW)
    with pytest.raises(ConflictError, match="still terminating"):
        operations.delete_service(store, "openllm", NOW)
    with store.begin() as tx:
        tx.set_phase("openllm", 1, RevisionPhase.TERMINATED)
        tx.add_replica(Replica("openllm-1-x", "openllm", 1, ReplicaState.STOPPED, NOW, NOW))
    assert operations.delete_service(store, "openllm", NOW) == ["openllm-1-x"]
    assert operations.list_services(store) == []
    with store.read() as queries:
        assert queries.revisions() == []
        assert queries.events(service="openllm")[-1].what == "deleted"
