"""Stops the platform so that nothing is lost: the way in first, then what serves.

The order matters: the control plane goes first, so that it does not replace what is stopped
after it; then the gateway, which finishes its open requests; then replicas and runs, which nobody
needs any more. What is deployed stays in the store and comes back with the next start.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headrace.control.launchers.base import Launcher
from headrace.control.launchers.factory import make_launcher
from headrace.control.platform.layout import Layout, PlatformOptions
from headrace.control.platform.platform import Platform, Say
from headrace.control.resources import (
    Event,
    ProcessHandle,
    Replica,
    ReplicaState,
    Run,
    RunState,
)
from headrace.control.store.store import Store

_GRACE_S = 30.0
_POLL_S = 0.05
_CAUSE = "the platform was stopped"
_OVER = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.TERMINATED})


def shut_down(platform: Platform, say: Say, *, keep_serving: bool = False) -> None:
    """Stop all of it; with ``keep_serving``, the control plane alone."""
    if platform.stop_control():
        say("Stopped the control plane.")
    if keep_serving:
        say("Gateway, replicas and runs go on; `headrace up` takes them over.")
        return
    if platform.stop_gateway(say):
        say("Stopped the gateway.")
    stop_processes(platform.layout, platform.options, say)


def stop_processes(layout: Layout, options: PlatformOptions, say: Say) -> None:
    """Stop every replica and run that the store knows to run, and write down that they have."""
    if options.database_url is None and not layout.database.exists():
        return
    store = Store.open(options.database_url or f"sqlite:///{layout.database}")
    try:
        with store.begin() as tx:
            replicas = tx.replicas(live_only=True)
            runs = [run for run in tx.runs() if run.state not in _OVER]
        running = [
            _Running(replica.replica_id, replica.process, layout.replicas / replica.replica_id)
            for replica in replicas
            if replica.process is not None
        ] + [
            _Running(run.run_id, run.process, layout.runs / run.run_id)
            for run in runs
            if run.process is not None
        ]
        launcher = make_launcher(options.containers)
        running = [one for one in running if launcher.adopt(one.name, one.handle)]
        if running:
            say(f"Stopping {_count(len(replicas), 'replica')} and {_count(len(runs), 'run')} ...")
        _stop_all(launcher, running)
        _write_down(store, replicas, runs, datetime.now(UTC))
    finally:
        store.close()


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    handle: ProcessHandle
    folder: Path


def _stop_all(launcher: Launcher, running: Sequence[_Running]) -> None:
    for one in running:
        launcher.terminate(one.name, one.handle)
    deadline = time.monotonic() + _GRACE_S
    left = list(running)
    while left:
        if time.monotonic() > deadline:
            for one in left:
                launcher.kill(one.name, one.handle)
        left = [one for one in left if launcher.observe(one.handle, one.folder).is_running]
        time.sleep(_POLL_S)


def _write_down(
    store: Store, replicas: Sequence[Replica], runs: Sequence[Run], now: datetime
) -> None:
    with store.begin() as tx:
        for replica in replicas:
            state, subject = replica.state, f"replica {replica.replica_id}"
            if state is ReplicaState.READY:  # what serves is drained before it is stopped
                tx.change_replica(replica.replica_id, state, ReplicaState.DRAINING, now)
                state = ReplicaState.DRAINING
            if tx.change_replica(
                replica.replica_id, state, ReplicaState.STOPPED, now, cause=_CAUSE
            ):
                tx.add_event(Event(now, subject, "stopped", _CAUSE, service=replica.service))
        for run in runs:
            if run.state is RunState.PENDING:  # it begins with the next start
                continue
            if run.state is not RunState.TERMINATING:
                tx.change_run(run.run_id, run.state, RunState.TERMINATING, now)
            if tx.change_run(
                run.run_id, RunState.TERMINATING, RunState.TERMINATED, now, cause=_CAUSE
            ):
                subject = f"run {run.run_id}"
                tx.add_event(Event(now, subject, "terminated", _CAUSE, run_id=run.run_id))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
