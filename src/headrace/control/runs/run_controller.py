"""Takes runs from wish to end: import, start, watch, export.

Knows no service. Each run's next step is decided by its state alone, so that a controller that
starts anew goes on where another one ended: an import is begun again, a process is found again.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from headrace.control.folders.artifacts import ArtifactStore
from headrace.control.folders.importing import bring_in, take_out
from headrace.control.last_words import last_words
from headrace.control.launchers.base import Launcher
from headrace.control.launchers.planning import plan_launch
from headrace.control.launchers.process import LOG_FILE
from headrace.control.manifests.env import secret_names
from headrace.control.manifests.run import RunSpec
from headrace.control.processes.ports import find_free_port
from headrace.control.replica_launch import SecretReader
from headrace.control.resources import Event, ProcessHandle, Run, RunState
from headrace.control.store.store import Store
from headrace.core.errors import HeadraceError

log = logging.getLogger(__name__)

_PASS_S = 0.5
_OVER = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.TERMINATED})
ROOT_FOLDER = "root"


class RunController:
    """The one that acts on runs. There is one a platform."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        *,
        read_secrets: SecretReader,
        runs: Path,
        artifacts: Path,
        uses_containers: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._read_secrets = read_secrets
        self._runs = runs
        self._artifacts = ArtifactStore(artifacts)
        self._uses_containers = uses_containers
        self._now = now
        self._steps: dict[str, asyncio.Task[None]] = {}
        """By run: what is being done for it right now, one thing at a time."""
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """There may be something to do. To be called in the event loop's thread."""
        self._poked.set()

    async def run(self) -> None:
        """Go on until cancelled. What goes wrong with one run never stops the others."""
        while True:
            self._poked.clear()
            try:
                await self.do_pass()
            except Exception as error:
                log.warning("runs: %s: %s", type(error).__name__, error)
            try:
                await asyncio.wait_for(self._poked.wait(), _PASS_S)
            except TimeoutError:
                continue

    async def do_pass(self) -> None:
        """Begin the next step of each run that waits for none."""
        for run in await asyncio.to_thread(self._open_runs):
            if run.run_id not in self._steps:
                self._steps[run.run_id] = asyncio.create_task(self._do_step(run))

    async def _do_step(self, run: Run) -> None:
        try:
            await asyncio.to_thread(self._step, run)
        except HeadraceError as error:
            await asyncio.to_thread(self._fail, run.run_id, str(error))
        except Exception as error:
            log.exception("run %s", run.run_id)
            reason = f"{type(error).__name__}; the control plane's log has the details"
            await asyncio.to_thread(self._fail, run.run_id, reason)
        finally:
            del self._steps[run.run_id]

    def _open_runs(self) -> list[Run]:
        with self._store.begin() as tx:
            return [run for run in tx.runs() if run.state not in _OVER]

    def _step(self, run: Run) -> None:
        spec = RunSpec.model_validate(run.spec)
        match run.state:
            case RunState.PENDING:
                self._change(run, RunState.IMPORTING, "created", folder=str(self._folder(run)))
            case RunState.IMPORTING:
                self._start(run, spec)
            case RunState.RUNNING:
                self._watch(run, spec)
            case RunState.EXPORTING:
                self._export(run, spec)
            case RunState.TERMINATING:
                self._terminate(run, spec)

    def _start(self, run: Run, spec: RunSpec) -> None:
        folder = self._folder(run)
        handle = self._launcher.find(run.run_id, folder)
        if handle is not None:  # started just before a control plane ended
            self._change(run, RunState.RUNNING, "its process was found again", process=handle)
            return
        told = bring_in(spec, folder / ROOT_FOLDER, self._artifacts)
        host_ports = self._take_ports(spec)
        plan = plan_launch(
            run.run_id,
            spec,
            folder=folder,
            host_ports=host_ports,
            secrets=self._read_secrets(secret_names(spec.env)),
            uses_containers=self._uses_containers,
        )
        for mounted in plan.mounts.values():
            mounted.mkdir(parents=True, exist_ok=True)
        for step in plan.steps:
            if step.workdir is not None and step.workdir.is_relative_to(folder):
                step.workdir.mkdir(parents=True, exist_ok=True)
        handle = self._launcher.start(plan)
        why = "; ".join(told) or "nothing to import"
        if not self._change(run, RunState.RUNNING, why, process=handle, host_ports=host_ports):
            # Terminated in the meantime: whoever did so saw no process to stop.
            self._launcher.kill(run.run_id, handle)

    def _watch(self, run: Run, spec: RunSpec) -> None:
        handle = self._handle(run)
        seen = self._launcher.observe(handle, self._folder(run))
        if not seen.is_running:
            code = "unknown" if seen.exit_code is None else str(seen.exit_code)
            why = f"the command ended with exit code {code}"
            self._change(run, RunState.EXPORTING, why, exit_code=seen.exit_code)
            return
        runtime_s = (self._now() - run.changed_at).total_seconds()
        if spec.max_runtime_s is not None and runtime_s > spec.max_runtime_s:
            why = f"it ran longer than max_runtime, {spec.max_runtime_s:g} s"
            self._change(run, RunState.TERMINATING, why)

    def _export(self, run: Run, spec: RunSpec) -> None:
        """Kept after a failure too: what a failed run made is often what one wants to see."""
        folder = self._folder(run)
        failure = None if run.exit_code == 0 else self._why_failed(run)
        try:
            told = take_out(spec, folder / ROOT_FOLDER, self._artifacts)
        except HeadraceError as error:
            failure = failure or str(error)
            told = [str(error)]
        why = "; ".join(told) or "nothing to export"
        if failure is None:
            self._change(run, RunState.COMPLETED, why)
        else:
            self._change(run, RunState.FAILED, why, cause=failure)

    def _terminate(self, run: Run, spec: RunSpec) -> None:
        folder = self._folder(run)
        handle = run.process or self._launcher.find(run.run_id, folder)
        if handle is None or not self._launcher.observe(handle, folder).is_running:
            self._change(run, RunState.TERMINATED, run.cause or "asked for")
            return
        if (self._now() - run.changed_at).total_seconds() > spec.grace_period_s:
            self._launcher.kill(run.run_id, handle)
        else:
            self._launcher.terminate(run.run_id, handle)

    def _take_ports(self, spec: RunSpec) -> dict[int, int]:
        """The declared ports themselves where they are free: there is one of a run."""
        with self._store.begin() as tx:
            taken = {
                port
                for holder in (
                    *tx.replicas(live_only=True),
                    *(run for run in tx.runs() if run.state not in _OVER),
                )
                for port in holder.host_ports.values()
            }
        ports: dict[int, int] = {}
        for port in spec.ports:
            ports[port.port] = find_free_port(taken, preferred=port.port)
            taken.add(ports[port.port])
        return ports

    def _why_failed(self, run: Run) -> str:
        code = "an unknown code" if run.exit_code is None else f"code {run.exit_code}"
        words = last_words(self._folder(run) / LOG_FILE)
        return f"Exited with {code}." + (f" Its log ends with:\n{words}" if words else "")

    def _fail(self, run_id: str, cause: str) -> None:
        with self._store.begin() as tx:
            run = tx.run(run_id)
        if run is not None and run.state not in _OVER:
            self._change(run, RunState.FAILED, cause, cause=cause)

    def _change(self, run: Run, state: RunState, why: str, **changes: object) -> bool:
        """Write down a change, with its event; False if somebody else changed the run first."""
        now = self._now()
        with self._store.begin() as tx:
            if not tx.change_run(run.run_id, run.state, state, now, **changes):
                return False
            event = Event(
                at=now, subject=f"run {run.run_id}", what=state, why=why, run_id=run.run_id
            )
            tx.add_event(event)
        return True

    def _folder(self, run: Run) -> Path:
        return self._runs / run.run_id

    def _handle(self, run: Run) -> ProcessHandle:
        if run.process is None:
            raise HeadraceError("It was started, and nothing is known of its process.")
        return run.process
