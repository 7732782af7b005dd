"""The steps of a run, one for each state: import, start, monitor, export, terminate.

Blocking: call them in a thread.
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
    """`take` performs a run's next step. Steps of different runs may run concurrently."""

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
        """Ids of runs whose process was started or verified here: a pid may have been recycled."""
        self._stop_signaled: set[str] = set()

    def take(self, run: Run) -> bool:
        """Returns whether it changed anything. Raises HeadraceError if the run fails."""
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
        """Kill its process and mark it failed, unless it is in a final state."""
        with self._store.read() as queries:
            run = queries.run(run_id)
        if run is None or run.is_over:
            return False
        handle = run.process or self._find_started(run)
        if handle is not None and self._observe(run, handle).is_running:
            self._launcher.kill(run_id, handle)
        return self._change(run, RunState.FAILED, cause, cause=cause)

    def _begin(self, run: Run, spec: RunSpec) -> bool:
        """Assign its GPUs; it stays pending until they are free."""
        folder = str(self._folder(run))
        with self._store.begin() as tx:
            found = assign_gpus(spec.resources.gpu, tx.gpu_holdings(), self._uuids)
            if not isinstance(found, Unavailable):
                cause = None if run.cause is None else ""  # it no longer waits
                changes = {"folder": folder, "gpus": found.shares, "cause": cause}
                why = "Resources assigned."
                return self._change_in(tx, run, RunState.IMPORTING, why, **changes)
            if found.is_final:
                raise LaunchError(found.why)
            if found.why == run.cause:
                return False
            return self._change_in(tx, run, RunState.PENDING, found.why, cause=found.why)

    def _start(self, run: Run, spec: RunSpec) -> bool:
        started = self._find_started(run)
        if started is not None:  # by a control plane that exited before it wrote that
            why = f"Found process {started.pid} after a restart of the control plane."
            return self._change(run, RunState.RUNNING, why, process=started)
        imported = import_all(spec, self._folder(run) / ROOT_FOLDER, self._artifacts)
        host_ports = self._take_ports(run, spec)
        if host_ports is None:
            return False  # it was terminated
        handle = self._launcher.start(self._plan(run, spec, host_ports))
        self._ours.add(run.run_id)
        why = _sentences(*imported, f"Process {handle.pid}")
        if not self._change(run, RunState.RUNNING, why, process=handle):
            # It was terminated before the store had a process to stop.
            self._launcher.kill(run.run_id, handle)
        return True

    def _watch(self, run: Run, spec: RunSpec) -> bool:
        if run.process is None:
            raise LaunchError("The run has started, but its process is unknown.")
        seen = self._observe(run, run.process)
        if not seen.is_running:
            code = "unknown" if seen.exit_code is None else str(seen.exit_code)
            why = f"Exited with code {code}."
            return self._change(run, RunState.EXPORTING, why, exit_code=seen.exit_code)
        if spec.max_runtime_s is not None and self._age_s(run) > spec.max_runtime_s:
            why = f"Exceeded max_runtime of {spec.max_runtime_s:g} s."
            return self._change(run, RunState.TERMINATING, why, cause=why)
        return False

    def _export(self, run: Run, spec: RunSpec) -> bool:
        """Exports after a failure too: they often help to find its cause."""
        failure = None if run.exit_code == 0 else self._why_failed(run)
        try:
            exported = self._export_all(run, spec)
        except StoreError:
            raise
        except Exception as error:
            exported = str(error)
            failure = failure or exported
        if failure is None:
            return self._change(run, RunState.COMPLETED, exported)
        why = exported if run.exit_code == 0 else _sentences(_how_it_ended(run), exported)
        return self._change(run, RunState.FAILED, why, cause=failure)

    def _terminate(self, run: Run, spec: RunSpec) -> bool:
        handle = run.process or self._find_started(run)
        seen = Observation(False) if handle is None else self._observe(run, handle)
        if handle is not None and seen.is_running:
            self._end(run, handle, spec.grace_period_s)
            return False
        was_exported = run.exit_code is not None or handle is None
        try:
            exported = "" if was_exported else self._export_all(run, spec)
        except Exception as error:  # it terminates even if exports fail
            exported = str(error)
        why = _sentences(run.cause or "", exported)
        return self._change(run, RunState.TERMINATED, why, exit_code=seen.exit_code)

    def _end(self, run: Run, handle: ProcessHandle, grace_period_s: float) -> None:
        if self._age_s(run) > grace_period_s:
            self._launcher.kill(run.run_id, handle)
        elif run.run_id not in self._stop_signaled:  # many programs quit at once on a second one
            self._stop_signaled.add(run.run_id)
            self._launcher.terminate(run.run_id, handle)

    def _find_started(self, run: Run) -> ProcessHandle | None:
        """A run is started once, so a process recorded in its folder is its own, ended or not."""
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
        except StoreError as error:  # encrypted with another key: a retry would fail too
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
        """The declared ports themselves if they are free, else other free ones.

        They are found and written in one transaction, so that no other run gets them. None if the
        run is no longer to be started.
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
        exported = export_all(spec, self._folder(run) / ROOT_FOLDER, self._artifacts)
        return _sentences(*exported) or "No exports."

    def _why_failed(self, run: Run) -> str:
        ended = _how_it_ended(run)
        tail = log_tail(self._folder(run) / LOG_FILE)
        return f"{ended} Last lines of the log:\n{tail}" if tail else ended

    def _age_s(self, run: Run) -> float:
        """Seconds since its last change of state."""
        return (self._now() - run.changed_at).total_seconds()

    def _change(self, run: Run, state: RunState, why: str, **changes: Any) -> bool:
        """Write a change and its event; False if the run's state has changed meanwhile."""
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
        if not RUN_CHANGES[state]:  # a final state
            self._ours.discard(run.run_id)
            self._stop_signaled.discard(run.run_id)
        return True

    def _folder(self, run: Run) -> Path:
        return self._runs / run.run_id


def _how_it_ended(run: Run) -> str:
    if run.exit_code is None:
        return "No exit code: it was killed, or the machine went down."
    return f"Exited with code {run.exit_code}."


def _sentences(*parts: str) -> str:
    """The parts as sentences."""
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)
