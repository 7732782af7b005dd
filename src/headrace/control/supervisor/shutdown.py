"""Stops the platform so that nothing is lost: the way in first, then what serves.

The order matters: the control plane goes first, so that it does not replace what is stopped
after it; then the gateway, which finishes its open requests; then replicas and runs, which nobody
needs any more: all at once, each with the grace that its manifest gives it. What is deployed stays
in the store and comes back with the next start.
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
from headrace.control.resources import Event, ProcessHandle, ReplicaState, RunState
from headrace.control.store.queries import Queries
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction
from headrace.control.supervisor.daemons import Daemons, Report
from headrace.core.errors import HeadraceError

_UNKNOWN_GRACE_S = 30.0
"""Of what the store does not know, or cannot tell of."""
_DEATH_S = 10.0
"""So long the system may take to end what has been killed."""
_POLL_S = 0.05
_TELL_FIRST_S = 1.0
_TELL_AGAIN_S = 5.0
_MAX_NUM_NAMED = 3
_CAUSE = "The platform was stopped."


def shut_down(daemons: Daemons, report: Report, *, keep_serving: bool = False) -> bool:
    """Stop all of it; with ``keep_serving``, the control plane alone. False if nothing ran."""
    has_stopped = daemons.stop_control()
    if has_stopped:
        report("Stopped the control plane.")
    if keep_serving:
        if daemons.gateway.running() is not None:
            report("Gateway, replicas and runs go on; `headrace up` takes them over.")
        return has_stopped
    if daemons.stop_gateway(report):
        report("Stopped the gateway.")
        has_stopped = True
    return stop_processes(daemons.layout, daemons.options, report) or has_stopped


def stop_processes(layout: Layout, options: UpOptions, report: Report) -> bool:
    """Stop every replica and run, and write down that they are. False if nothing ran."""
    launcher = make_launcher(options.containers)
    replicas = list(_running(launcher, layout.replicas))
    runs = list(_running(launcher, layout.runs))
    has_store = options.database_url is not None or layout.database.exists()
    told = [_count(len(replicas), "replica"), _count(len(runs), "run")]
    what = " and ".join(text for text in told if text)
    if what:
        report(f"Stopping {what} ...")
        graces = _read_graces(layout, options, replicas, runs, report) if has_store else {}
        _stop_all(launcher, [*replicas, *runs], graces, report)
    if has_store:
        _write_down(layout, options, runs, datetime.now(UTC))
    return bool(what)


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    handle: ProcessHandle
    folder: Path


def _running(launcher: Launcher, folders: Path) -> Iterator[_Running]:
    """By the folders, and not by the store: it may be away, or not know yet what was started."""
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
    """Seconds between SIGTERM and SIGKILL by name, as far as the store tells."""
    try:
        store = _open_store(layout, options)
        try:
            with store.read() as tx:
                graces = {one.name: _grace_of_replica(tx, one.name) for one in replicas}
                graces |= {one.name: _grace_of_run(tx, one.name) for one in runs}
        finally:
            store.close()
    except HeadraceError as error:
        report(f"{error} So each gets {_UNKNOWN_GRACE_S:g} s to end.")
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
    """Returns when all have ended, which none delays beyond its own grace."""
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
                report(f"Killing {one.name}: it still runs {now_s - began_s:.0f} s after SIGTERM.")
                launcher.kill(one.name, one.handle)
                killed.add(one.name)
        last_s = max(ends_s[one.name] for one in left)
        if now_s > last_s + _DEATH_S:
            report(f"Not ended though killed: {_named(left)}. The next `headrace up` tries again.")
            return
        if now_s >= tell_at_s and now_s < last_s:
            report(f"Waiting for {_named(left)}, for at most {last_s - now_s:.0f} s ...")
            tell_at_s = now_s + _TELL_AGAIN_S
        time.sleep(_POLL_S)


def _named(running: Sequence[_Running]) -> str:
    names = [one.name for one in running]
    if len(names) > _MAX_NUM_NAMED:
        names[_MAX_NUM_NAMED:] = [f"{len(names) - _MAX_NUM_NAMED} more"]
    return ", ".join(names)


def _open_store(layout: Layout, options: UpOptions) -> Store:
    return Store.open(options.database_url or f"sqlite:///{layout.database}")


def _write_down(
    layout: Layout, options: UpOptions, stopped_runs: Sequence[_Running], now: datetime
) -> None:
    store = _open_store(layout, options)
    try:
        with store.begin() as tx:
            _write_down_replicas(tx, now)
            for one in stopped_runs:
                _write_down_run(tx, one, now)
    finally:
        store.close()


def _write_down_replicas(tx: Transaction, now: datetime) -> None:
    for replica in tx.replicas(live_only=True):
        state = replica.state
        if state is ReplicaState.READY:  # what serves is drained before it is stopped
            tx.change_replica(replica.replica_id, state, ReplicaState.DRAINING, now)
            state = ReplicaState.DRAINING
        tx.change_replica(replica.replica_id, state, ReplicaState.STOPPED, now, cause=_CAUSE)
        subject = f"replica {replica.replica_id}"
        tx.add_event(Event(now, subject, "stopped", _CAUSE, service=replica.service))


def _write_down_run(tx: Transaction, stopped: _Running, now: datetime) -> None:
    """The next start keeps its exports and ends it; what had not begun yet begins then."""
    run = tx.run(stopped.name)
    if run is not None and run.state in (RunState.IMPORTING, RunState.RUNNING):
        tx.change_run(
            run.run_id, run.state, RunState.TERMINATING, now, cause=_CAUSE, process=stopped.handle
        )
        event = Event(now, f"run {run.run_id}", "terminating", _CAUSE, run_id=run.run_id)
        tx.add_event(event)


def _count(number: int, noun: str) -> str:
    if number == 0:
        return ""
    return f"{number} {noun}{'' if number == 1 else 's'}"
