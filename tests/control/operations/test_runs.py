"""Runs are asked for, asked for again, and told to end."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from headrace.control.errors import ConflictError, NotFoundError
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.manifests.run import RunSpec
from headrace.control.operations.runs import (
    create_run,
    delete_run,
    list_runs,
    read_run,
    reproduce_run,
    terminate_run,
)
from headrace.control.resources import RUN_CHANGES, RunState
from headrace.control.store.store import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)

RUN = """\
name: vllm-server
description: LLM server
tags: [vllm]
run:
- command: |-
    echo one
    echo two
  workdir: /code
ports:
- {name: vllm, type: http, port: 8000}
env:
  MODEL_NAME: some/model
"""


def events_of(store: Store, run_id: str) -> list[str]:
    with store.read() as queries:
        return [event.what for event in queries.events(run_id=run_id)]


def test_a_run_is_made_with_its_event(store: Store) -> None:
    run = create_run(store, RUN, "vllm-run.yaml", NOW)
    assert re.fullmatch(r"[1-9]\d{11}", run.run_id)
    assert (run.name, run.state) == ("vllm-server", RunState.PENDING)
    assert RunSpec.model_validate(run.spec).env["MODEL_NAME"].value == "some/model"
    assert read_run(store, run.run_id) == run
    assert events_of(store, run.run_id) == ["created"]


def test_a_wrong_manifest_changes_nothing(store: Store) -> None:
    with pytest.raises(ManifestError, match=r"r.yaml:13: nonsense"):
        create_run(store, f"{RUN}nonsense: 1\n", "r.yaml", NOW)
    with pytest.raises(ManifestError, match="secret 'x' not found"):
        create_run(store, f"{RUN}  X: {{secret: x}}\n", "r.yaml", NOW)
    assert list_runs(store) == []


def test_a_run_is_reproduced_as_it_was(store: Store) -> None:
    first = create_run(store, RUN, "r.yaml", NOW)
    again = reproduce_run(store, first.run_id, LATER)
    assert again.run_id != first.run_id
    assert again.reproduced_from == first.run_id
    assert (again.name, again.spec) == (first.name, first.spec)
    assert again.state is RunState.PENDING
    assert list_runs(store) == [first, again]


@pytest.mark.parametrize("state", [state for state in RunState if RUN_CHANGES[state]])
def test_what_is_under_way_is_told_to_end(store: Store, state: RunState) -> None:
    run = create_run(store, RUN, "r.yaml", NOW)
    bring_to(store, run.run_id, state)
    ended = terminate_run(store, run.run_id, LATER)
    is_pending = state is RunState.PENDING
    assert ended.state is (RunState.TERMINATED if is_pending else RunState.TERMINATING)
    assert read_run(store, run.run_id) == ended
    num_events = 2 if state is not RunState.TERMINATING else 1
    assert len(events_of(store, run.run_id)) == num_events


@pytest.mark.parametrize("state", [state for state in RunState if not RUN_CHANGES[state]])
def test_what_is_over_cannot_be_ended(store: Store, state: RunState) -> None:
    run = create_run(store, RUN, "r.yaml", NOW)
    bring_to(store, run.run_id, state)
    with pytest.raises(ConflictError, match=f"already ended: {state}"):
        terminate_run(store, run.run_id, LATER)


def bring_to(store: Store, run_id: str, state: RunState) -> None:
    """By the shortest way that the table of changes has."""
    ways: dict[RunState, list[RunState]] = {RunState.PENDING: []}
    waiting = [RunState.PENDING]
    for before in waiting:
        for after in sorted(RUN_CHANGES[before]):
            if after not in ways:
                ways[after] = [*ways[before], after]
                waiting.append(after)
    with store.begin() as tx:
        before = RunState.PENDING
        for after in ways[state]:
            assert tx.change_run(run_id, before, after, NOW)
            before = after


@pytest.mark.parametrize("state", RunState)
def test_only_what_is_over_is_deleted(store: Store, state: RunState) -> None:
    run = create_run(store, RUN, "r.yaml", NOW)
    other = create_run(store, RUN, "r.yaml", NOW)
    bring_to(store, run.run_id, state)
    if RUN_CHANGES[state]:
        with pytest.raises(ConflictError, match=f"headrace run terminate {run.run_id}"):
            delete_run(store, run.run_id, LATER)
        assert read_run(store, run.run_id).state is state
        return
    delete_run(store, run.run_id, LATER)
    assert list_runs(store) == [other]
    assert events_of(store, run.run_id) == []
    assert len(events_of(store, other.run_id)) == 1


def test_what_is_not_there_is_said_kindly(store: Store) -> None:
    for ask in (read_run, lambda *given: terminate_run(*given, NOW)):
        with pytest.raises(NotFoundError, match=r"Run '1' not found. List runs: headrace run list"):
            ask(store, "1")
    with pytest.raises(NotFoundError, match="Run '1' not found"):
        reproduce_run(store, "1", NOW)
