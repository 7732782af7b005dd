"""Runs: created from a manifest, reproduced, terminated and deleted."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from headrace.control.errors import ConflictError
from headrace.control.manifests.run import parse_run
from headrace.control.operations import BY_API
from headrace.control.operations.finding import find_run
from headrace.control.operations.secrets import check_secrets
from headrace.control.resources import Event, EventReason, Run, RunState
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction

_NUM_DIGITS = 12


def create_run(
    store: Store, text: str, file: str, now: datetime, *, folder: Path | None = None
) -> Run:
    """``file`` names the text in errors; its relative paths begin at ``folder``."""
    manifest = parse_run(text, file, folder)
    spec = manifest.spec
    with store.begin() as tx:
        check_secrets(tx, manifest, spec.env)
        run = _new_run(tx, spec.name, spec.model_dump(mode="json"), now)
        tx.add_run(run)
        tx.add_event(_event(run.run_id, EventReason.CREATED, f"From {file}.", now))
    return run


def check_run(store: Store, text: str, file: str) -> None:
    """What `create_run` checks; nothing is changed."""
    manifest = parse_run(text, file)
    with store.read() as queries:
        check_secrets(queries, manifest, manifest.spec.env)


def list_runs(store: Store, limit: int | None = None, before: str | None = None) -> list[Run]:
    """Oldest first; with ``limit`` the newest ``limit`` of those before the run ``before``."""
    with store.read() as queries:
        if before is not None:
            find_run(queries, before)
        return queries.runs(limit=limit, before=before)


def read_run(store: Store, run_id: str) -> Run:
    with store.read() as queries:
        return find_run(queries, run_id)


def reproduce_run(store: Store, run_id: str, now: datetime) -> Run:
    """A new run with the same spec."""
    with store.begin() as tx:
        first = find_run(tx, run_id)
        run = _new_run(tx, first.name, first.spec, now, reproduced_from=run_id)
        tx.add_run(run)
        tx.add_event(_event(run.run_id, EventReason.CREATED, f"Reproduces run {run_id}.", now))
    return run


def terminate_run(store: Store, run_id: str, now: datetime) -> Run:
    """Idempotent while it terminates. Raises ConflictError if it is in a final state."""
    with store.begin() as tx:
        run = find_run(tx, run_id)
        if run.state is RunState.TERMINATING:
            return run
        if run.is_over:
            raise ConflictError(f"Run {run_id} has already ended: {run.state}.")
        # A pending run has no process to stop.
        has_begun = run.state is not RunState.PENDING
        state = RunState.TERMINATING if has_begun else RunState.TERMINATED
        tx.change_run(run_id, run.state, state, now, cause=BY_API)
        tx.add_event(_event(run_id, state.value, BY_API, now))
        return find_run(tx, run_id)


def delete_run(store: Store, run_id: str, now: datetime) -> None:
    """With its events. Raises ConflictError if it is not in a final state."""
    with store.begin() as tx:
        run = find_run(tx, run_id)
        if not run.is_over:
            raise ConflictError(
                f"Run {run_id} is {run.state}. Terminate it first: headrace run terminate {run_id}"
            )
        tx.remove_run(run_id)
        tx.add_event(Event(now, f"run {run_id}", EventReason.DELETED, BY_API))


def _new_run(
    tx: Transaction,
    name: str,
    spec: Mapping[str, Any],
    now: datetime,
    reproduced_from: str | None = None,
) -> Run:
    run_id = _random_id()
    while tx.run(run_id) is not None:
        run_id = _random_id()
    return Run(
        run_id=run_id,
        name=name,
        spec=dict(spec),
        state=RunState.PENDING,
        created_at=now,
        changed_at=now,
        reproduced_from=reproduced_from,
    )


def _random_id() -> str:
    """Twelve digits without a leading 0, which some tools would drop."""
    lowest = 10 ** (_NUM_DIGITS - 1)
    return str(lowest + secrets.randbelow(9 * lowest))


def _event(run_id: str, what: str, why: str, now: datetime) -> Event:
    return Event(now, f"run {run_id}", what, why, run_id=run_id)
