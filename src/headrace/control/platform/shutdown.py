"""Stops the platform so that nothing is lost: the way in first, then what serves.

The order matters: the control plane goes first, so that it does not replace what is stopped
after it; then the gateway, which finishes its open requests; then replicas and runs, which nobody
needs any more. What is deployed stays in the store and comes back with the next start.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headrace.control.launchers.base import Launcher
from headrace.control.launchers.factory import make_launcher
from headrace.control.platform.layout import Layout, PlatformOptions
from headrace.control.platform.platform import Platform, Say
from headrace.control.resources import Event, ProcessHandle, ReplicaState, RunState
from headrace.control.store.store import Store
from headrace.control.store.transaction import Transaction

_GRACE_S = 30.0
_POLL_S = 0.05
_CAUSE = "The platform was stopped."


def shut_down(platform: Platform, say: Say, *, keep_serving: bool = False) -> bool:
    """Stop all of it; with ``keep_serving``, the control plane alone. False if nothing ran."""
    has_stopped = platform.stop_control()
    if has_stopped:
        say("Stopped the control plane.")
    if keep_serving:
        if platform.gateway.running() is not None:
            say("Gateway, replicas and runs go on; `headrace up` takes them over.")
        return has_stopped
    if platform.stop_gateway(say):
        say("Stopped the gateway.")
        has_stopped = True
    return stop_processes(platform.layout, platform.options, say) or has_stopped


def stop_processes(layout: Layout, options: PlatformOptions, say: Say) -> bool:
    """Stop every replica and run, and write down that they are. False if nothing ran."""
    launcher = make_launcher(options.containers)
    replicas = list(_running(launcher, layout.replicas))
    runs = list(_running(launcher, layout.runs))
    told = [_count(len(replicas), "replica"), _count(len(runs), "run")]
    what = " and ".join(text for text in told if text)
    if what:
        say(f"Stopping {what} ...")
        _stop_all(launcher, [*replicas, *runs])
    if options.database_url is not None or layout.database.exists():
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


def _stop_all(launcher: Launcher, running: Sequence[_Running]) -> None:
    for one in running:
        launcher.terminate(one.name, one.handle)
    deadline = time.monotonic() + _GRACE_S
    left = list(running)
    while left := [one for one in left if launcher.observe(one.handle, one.folder).is_running]:
        if time.monotonic() > deadline:
            for one in left:
                launcher.kill(one.name, one.handle)
        time.sleep(_POLL_S)


def _write_down(
    layout: Layout, options: PlatformOptions, stopped_runs: Sequence[_Running], now: datetime
) -> None:
    store = Store.open(options.database_url or f"sqlite:///{layout.database}")
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
