"""Graceful shutdown of the platform.

In this order: the control plane, so that it does not replace what is stopped next; the gateway,
which finishes its open requests; Prometheus; then all replicas and runs at once, each with its
manifest's grace period. Deployments stay in the store, and the next start restores them.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from headrace.control.launchers.base import Launcher
from headrace.control.launchers.factory import make_launcher
from headrace.control.layout import Layout, UpOptions
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec
from headrace.control.resources import Event, EventReason, ProcessHandle, ReplicaState, RunState
from headrace.control.store.queries import Queries
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction
from headrace.control.supervisor.daemons import Daemons, Report
from headrace.core.errors import HeadraceError

_UNKNOWN_GRACE_S = 30.0
"""If the store is unavailable, or does not have the process."""
_DEATH_S = 10.0
"""Maximum time for a killed process to disappear."""
_POLL_S = 0.05
_TELL_FIRST_S = 1.0
_TELL_AGAIN_S = 5.0
_MAX_NUM_NAMED = 3
_CAUSE = "Platform shutdown."


def shut_down(daemons: Daemons, report: Report, *, keep_serving: bool = False) -> bool:
    """Stop everything; with ``keep_serving``, only the control plane. False if nothing was
    running."""
    has_stopped = daemons.stop_control()
    if has_stopped:
        report("Stopped the control plane.")
    if keep_serving:
        if daemons.gateway.running() is not None:
            report("Gateway, replicas and runs keep running; `headrace up` adopts them.")
        return has_stopped
    if daemons.stop_gateway(report):
        report("Stopped the gateway.")
        has_stopped = True
    if daemons.stop_prometheus():
        report("Stopped Prometheus.")
        has_stopped = True
    return stop_processes(daemons.layout, daemons.options, report) or has_stopped


def stop_processes(layout: Layout, options: UpOptions, report: Report) -> bool:
    """Stop all replicas and runs, and update the store. False if none was running."""
    launcher = make_launcher(options.containers)
    replicas = list(_running(launcher, layout.replicas))
    runs = list(_running(launcher, layout.runs))
    has_store = options.database_url is not None or layout.database.exists()
    counts = [_count(len(replicas), "replica"), _count(len(runs), "run")]
    what = " and ".join(text for text in counts if text)
    if what:
        report(f"Stopping {what} ...")
        graces = _read_graces(layout, options, replicas, runs, report) if has_store else {}
        _stop_all(launcher, [*replicas, *runs], graces, report)
    if has_store:
        _update_store(layout, options, runs, datetime.now(UTC))
    return bool(what)


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    handle: ProcessHandle
    folder: Path


def _running(launcher: Launcher, folders: Path) -> Iterator[_Running]:
    """Found by their folders: the store may be unavailable, or not have the latest starts."""
    for folder in sorted(folders.iterdir()) if folders.is_dir() else ():
        handle = launcher.find(folder.name, folder)
        if handle is not None:
            yield _Running(folder.name, handle, folder)


def _read_graces(
    layout: Layout,
    options: UpOptions,
    replicas: Sequence[_Running],
    runs: Sequence[_Running],
    report: Report,
) -> Mapping[str, float]:
    """Seconds between SIGTERM and SIGKILL by name, as far as the store has them."""
    try:
        store = _open_store(layout, options)
        try:
            with store.read() as tx:
                graces = {one.name: _grace_of_replica(tx, one.name) for one in replicas}
                graces |= {one.name: _grace_of_run(tx, one.name) for one in runs}
        finally:
            store.close()
    except HeadraceError as error:
        report(f"{error} Using a grace period of {_UNKNOWN_GRACE_S:g} s.")
        return {}
    return graces


def _grace_of_replica(tx: Queries, replica_id: str) -> float:
    replica = tx.replica(replica_id)
    revision = None if replica is None else tx.revision(replica.service, replica.revision)
    if revision is None:
        return _UNKNOWN_GRACE_S
    try:
        return RevisionSpec.model_validate(revision.spec).grace_period_s
    except ValidationError:  # another version of Headrace wrote it
        return _UNKNOWN_GRACE_S


def _grace_of_run(tx: Queries, run_id: str) -> float:
    run = tx.run(run_id)
    if run is None:
        return _UNKNOWN_GRACE_S
    try:
        return RunSpec.model_validate(run.spec).grace_period_s
    except ValidationError:
        return _UNKNOWN_GRACE_S


def _stop_all(
    launcher: Launcher, running: Sequence[_Running], graces: Mapping[str, float], report: Report
) -> None:
    """Send SIGTERM to all, then SIGKILL to each after its own grace period; wait for all."""
    for one in running:
        launcher.terminate(one.name, one.handle)
    began_s = time.monotonic()
    ends_s = {one.name: began_s + graces.get(one.name, _UNKNOWN_GRACE_S) for one in running}
    killed: set[str] = set()
    tell_at_s = began_s + _TELL_FIRST_S
    left = list(running)
    while left := [one for one in left if launcher.observe(one.handle, one.folder).is_running]:
        now_s = time.monotonic()
        for one in left:
            if now_s >= ends_s[one.name] and one.name not in killed:
                report(f"Killing {one.name}: still running {now_s - began_s:.0f} s after SIGTERM.")
                launcher.kill(one.name, one.handle)
                killed.add(one.name)
        last_s = max(ends_s[one.name] for one in left)
        if now_s > last_s + _DEATH_S:
            report(f"Still running after SIGKILL: {_named(left)}. `headrace up` will retry.")
            return
        if now_s >= tell_at_s and now_s < last_s:
            report(f"Waiting for {_named(left)} (at most {last_s - now_s:.0f} s) ...")
            tell_at_s = now_s + _TELL_AGAIN_S
        time.sleep(_POLL_S)


def _named(running: Sequence[_Running]) -> str:
    names = [one.name for one in running]
    if len(names) > _MAX_NUM_NAMED:
        names[_MAX_NUM_NAMED:] = [f"{len(names) - _MAX_NUM_NAMED} more"]
    return ", ".join(names)


def _open_store(layout: Layout, options: UpOptions) -> Store:
    return Store.open(options.database_url or f"sqlite:///{layout.database}")


def _update_store(
    layout: Layout, options: UpOptions, stopped_runs: Sequence[_Running], now: datetime
) -> None:
    store = _open_store(layout, options)
    try:
        with store.begin() as tx:
            _update_replicas(tx, now)
            for one in stopped_runs:
                _update_run(tx, one, now)
    finally:
        store.close()


def _update_replicas(tx: Transaction, now: datetime) -> None:
    for replica in tx.replicas(live_only=True):
        state = replica.state
        if state is ReplicaState.READY:  # there is no transition from ready to stopped
            tx.change_replica(replica.replica_id, state, ReplicaState.DRAINING, now)
            state = ReplicaState.DRAINING
        tx.change_replica(replica.replica_id, state, ReplicaState.STOPPED, now, cause=_CAUSE)
        subject = f"replica {replica.replica_id}"
        what = EventReason.STOPPED
        tx.add_event(Event(now, subject, what, _CAUSE, service=replica.service))


def _update_run(tx: Transaction, stopped: _Running, now: datetime) -> None:
    """The next start exports its folders and marks it terminated. Pending runs start then."""
    run = tx.run(stopped.name)
    if run is not None and run.state in (RunState.IMPORTING, RunState.RUNNING):
        tx.change_run(
            run.run_id, run.state, RunState.TERMINATING, now, cause=_CAUSE, process=stopped.handle
        )
        what = EventReason.TERMINATING
        event = Event(now, f"run {run.run_id}", what, _CAUSE, run_id=run.run_id)
        tx.add_event(event)


def _count(number: int, noun: str) -> str:
    if number == 0:
        return ""
    return f"{number} {noun}{'' if number == 1 else 's'}"
