"""What is done for a run in each of its states: import, start, watch, export, end.

Knows no loop and remembers nothing that the store does not have, but for the signals that were
sent and the processes that are known to be ours. Slow: not for an event loop.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.control.artifacts.artifact_store import ArtifactStore
from headrace.control.artifacts.imports import export_all, import_all
from headrace.control.devices.assignment import Unavailable, assign_gpus
from headrace.control.devices.gpus import Gpu
from headrace.control.errors import LaunchError, StoreError
from headrace.control.launchers.base import Launcher, LaunchPlan, Observation
from headrace.control.launchers.log_tail import log_tail
from headrace.control.launchers.planning import ROOT_FOLDER, plan_launch
from headrace.control.launchers.process import LOG_FILE, PROCESS_FILE
from headrace.control.manifests.fields.env import secret_names
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.run import RunSpec
from headrace.control.processes.ports import find_free_port
from headrace.control.processes.record import read_record
from headrace.control.replicas.start import SecretReader
from headrace.control.resources import RUN_CHANGES, Event, ProcessHandle, Run, RunState
from headrace.control.retention.log_truncation import truncate_log
from headrace.control.retention.policy import RUN_LOG, LogLimit
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction


class RunSteps:
    """`take` a run's next step. Different runs may be in different threads."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        *,
        read_secrets: SecretReader,
        runs: Path,
        artifacts: Path,
        uses_containers: bool,
        gpus: Sequence[Gpu] = (),
        log_limit: LogLimit = RUN_LOG,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._read_secrets = read_secrets
        self._runs = runs
        self._artifacts = ArtifactStore(artifacts)
        self._uses_containers = uses_containers
        self._uuids = [gpu.uuid for gpu in gpus]
        self._log_limit = log_limit
        self._now = now
        self._ours: set[str] = set()
        """Runs whose process was started by us, or adopted: a pid alone may be anybody's."""
        self._stop_signaled: set[str] = set()

    def take(self, run: Run) -> bool:
        """Whether it changed anything. Raises HeadraceError with what is wrong with the run."""
        spec = read_stored(RunSpec, run.spec)
        match run.state:
            case RunState.PENDING:
                return self._begin(run, spec)
            case RunState.IMPORTING:
                return self._start(run, spec)
            case RunState.RUNNING:
                return self._watch(run, spec)
            case RunState.EXPORTING:
                return self._export(run, spec)
            case RunState.TERMINATING:
                return self._terminate(run, spec)
        return False

    def fail(self, run_id: str, cause: str) -> bool:
        """Mark it failed, unless it is over already, and kill what still runs."""
        with self._store.read() as queries:
            run = queries.run(run_id)
        if run is None or run.is_over:
            return False
        handle = run.process or self._find_started(run)
        if handle is not None and self._observe(run, handle).is_running:
            self._launcher.kill(run_id, handle)
        return self._change(run, RunState.FAILED, cause, cause=cause)

    def _begin(self, run: Run, spec: RunSpec) -> bool:
        """With the GPUs that it asks for; without them it stays pending."""
        folder = str(self._folder(run))
        with self._store.begin() as tx:
            found = assign_gpus(spec.resources.gpu, tx.gpu_holdings(), self._uuids)
            if not isinstance(found, Unavailable):
                cause = None if run.cause is None else ""  # it waits no longer
                changes = {"folder": folder, "gpus": found.shares, "cause": cause}
                return self._change_in(tx, run, RunState.IMPORTING, "Its turn has come.", **changes)
            if found.is_final:
                raise LaunchError(found.why)
            if found.why == run.cause:
                return False
            return self._change_in(tx, run, RunState.PENDING, found.why, cause=found.why)

    def _start(self, run: Run, spec: RunSpec) -> bool:
        started = self._find_started(run)
        if started is not None:  # by a control plane that ended before it had written that down
            why = f"Its process {started.pid} was found again."
            return self._change(run, RunState.RUNNING, why, process=started)
        told = import_all(spec, self._folder(run) / ROOT_FOLDER, self._artifacts)
        host_ports = self._take_ports(run, spec)
        if host_ports is None:
            return False  # it was terminated meanwhile
        handle = self._launcher.start(self._plan(run, spec, host_ports))
        self._ours.add(run.run_id)
        why = _sentences(*told, f"Its process is {handle.pid}")
        if not self._change(run, RunState.RUNNING, why, process=handle):
            # Terminated while it was being started: whoever did so saw nothing to stop.
            self._launcher.kill(run.run_id, handle)
        return True

    def _watch(self, run: Run, spec: RunSpec) -> bool:
        if run.process is None:
            raise LaunchError("It was started, and nothing is known of its process.")
        seen = self._observe(run, run.process)
        if not seen.is_running:
            code = "unknown" if seen.exit_code is None else str(seen.exit_code)
            why = f"The commands ended with exit code {code}."
            return self._change(run, RunState.EXPORTING, why, exit_code=seen.exit_code)
        if spec.max_runtime_s is not None and self._age_s(run) > spec.max_runtime_s:
            why = f"It ran longer than its max_runtime, {spec.max_runtime_s:g} s."
            return self._change(run, RunState.TERMINATING, why, cause=why)
        return False

    def _export(self, run: Run, spec: RunSpec) -> bool:
        """After a failure too: what a failed run made is often what one wants to see."""
        failure = None if run.exit_code == 0 else self._why_failed(run)
        try:
            told = self._export_all(run, spec)
        except StoreError:
            raise
        except Exception as error:
            told = str(error)
            failure = failure or told
        if failure is None:
            return self._change(run, RunState.COMPLETED, told)
        why = told if run.exit_code == 0 else _sentences(_how_it_ended(run), told)
        return self._change(run, RunState.FAILED, why, cause=failure)

    def _terminate(self, run: Run, spec: RunSpec) -> bool:
        handle = run.process or self._find_started(run)
        seen = Observation(False) if handle is None else self._observe(run, handle)
        if handle is not None and seen.is_running:
            self._end(run, handle, spec.grace_period_s)
            return False
        was_exported = run.exit_code is not None or handle is None
        try:
            told = "" if was_exported else self._export_all(run, spec)
        except Exception as error:  # it is to end, whatever can be kept
            told = str(error)
        why = _sentences(run.cause or "", told)
        return self._change(run, RunState.TERMINATED, why, exit_code=seen.exit_code)

    def _end(self, run: Run, handle: ProcessHandle, grace_period_s: float) -> None:
        if self._age_s(run) > grace_period_s:
            self._launcher.kill(run.run_id, handle)
        elif run.run_id not in self._stop_signaled:  # a second SIGTERM means haste to many
            self._stop_signaled.add(run.run_id)
            self._launcher.terminate(run.run_id, handle)

    def _find_started(self, run: Run) -> ProcessHandle | None:
        """A run is started once, so whatever was started in its folder is it, over or not."""
        folder = self._folder(run)
        return self._launcher.find(run.run_id, folder) or read_record(folder / PROCESS_FILE)

    def _observe(self, run: Run, handle: ProcessHandle) -> Observation:
        if run.run_id not in self._ours and self._launcher.adopt(run.run_id, handle):
            self._ours.add(run.run_id)
        seen = self._launcher.observe(handle, self._folder(run))
        return seen if run.run_id in self._ours else Observation(False, seen.exit_code)

    def _plan(self, run: Run, spec: RunSpec, host_ports: dict[int, int]) -> LaunchPlan:
        try:
            secrets = self._read_secrets(secret_names(spec.env))
        except StoreError as error:  # encrypted with another key: no use in trying again
            raise LaunchError(str(error)) from None
        return plan_launch(
            run.run_id,
            spec,
            folder=self._folder(run),
            host_ports=host_ports,
            secrets=secrets,
            uses_containers=self._uses_containers,
            gpus=run.gpus,
        )

    def _take_ports(self, run: Run, spec: RunSpec) -> dict[int, int] | None:
        """The declared ports themselves where they are free: there is one of a run.

        They are written down before they are used, in one transaction with looking for them, so
        that no other run is given them. None if the run is not to be started any more.
        """
        ports: dict[int, int] = {}
        with self._store.begin() as tx:
            taken = tx.taken_ports(except_run_id=run.run_id)
            for port in spec.ports:
                ports[port.port] = find_free_port(taken, preferred=port.port)
                taken.add(ports[port.port])
            state = RunState.IMPORTING
            if not tx.change_run(run.run_id, state, state, self._now(), host_ports=ports):
                return None
        return ports

    def _export_all(self, run: Run, spec: RunSpec) -> str:
        told = export_all(spec, self._folder(run) / ROOT_FOLDER, self._artifacts)
        return _sentences(*told) or "Nothing to export."

    def _why_failed(self, run: Run) -> str:
        said = _how_it_ended(run)
        words = log_tail(self._folder(run) / LOG_FILE)
        return f"{said} Its log ends with:\n{words}" if words else said

    def _age_s(self, run: Run) -> float:
        """How long it has been in its state."""
        return (self._now() - run.changed_at).total_seconds()

    def _change(self, run: Run, state: RunState, why: str, **changes: Any) -> bool:
        """Write down a change, with its event; False if somebody else changed the run first."""
        with self._store.begin() as tx:
            has_changed = self._change_in(tx, run, state, why, **changes)
        if has_changed and (state is RunState.EXPORTING or not RUN_CHANGES[state]):
            with suppress(OSError):  # reported by the retention loop
                truncate_log(self._folder(run) / LOG_FILE, self._log_limit)
        return has_changed

    def _change_in(
        self, tx: Transaction, run: Run, state: RunState, why: str, **changes: Any
    ) -> bool:
        now = self._now()
        if not tx.change_run(run.run_id, run.state, state, now, **changes):
            return False
        tx.add_event(Event(now, f"run {run.run_id}", state.value, why, run_id=run.run_id))
        if not RUN_CHANGES[state]:  # nobody asks after it any more
            self._ours.discard(run.run_id)
            self._stop_signaled.discard(run.run_id)
        return True

    def _folder(self, run: Run) -> Path:
        return self._runs / run.run_id


def _how_it_ended(run: Run) -> str:
    if run.exit_code is None:
        return "It ended without an exit code: it was killed, or the machine went down."
    return f"Exited with code {run.exit_code}."


def _sentences(*parts: str) -> str:
    """One after the other, each with its full stop."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)
