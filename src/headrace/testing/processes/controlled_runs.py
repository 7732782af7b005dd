"""Runs for tests: the real store, launcher and controller, and a fake clock.

There is no API, and no process except those that runs start.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from headrace.control.devices.gpus import Gpu
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.operations.runs import create_run, read_run
from headrace.control.resources import Run, RunState
from headrace.control.retention.policy import RUN_LOG
from headrace.control.runs.run_controller import RunController
from headrace.control.runs.run_steps import RunSteps
from headrace.control.store.store import Store

TIMEOUT_S = 60.0


class ControlledRuns:
    """A store, a launcher, a clock and a controller over a folder.

    ``ahead`` moves the clock; ``secrets`` are what commands may be given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open(f"sqlite:///{folder}/state.db")
        self.launcher = ProcessLauncher()
        self.secrets: Mapping[str, str] = {}
        self.ahead = timedelta()
        self.gpus: Sequence[Gpu] = ()
        """As from NVML; for the next `new_controller`."""
        self.log_limit = RUN_LOG
        """For the next `new_controller`."""
        self.controller = self.new_controller()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def new_controller(self) -> RunController:
        steps = RunSteps(
            self.store,
            self.launcher,
            read_secrets=lambda names: {name: self.secrets[name] for name in names},
            runs=self.folder / "runs",
            artifacts=self.folder / "artifacts",
            uses_containers=False,
            gpus=self.gpus,
            log_limit=self.log_limit,
            now=self.now,
        )
        return RunController(self.store, steps)

    def create(self, run: str, **keys: Any) -> str:
        text = json.dumps({"name": "job", "run": run, **keys})
        return self.create_from(text)

    def create_from(self, text: str) -> str:
        return create_run(self.store, text, "run.yaml", self.now(), folder=self.folder).run_id

    def read(self, run_id: str) -> Run:
        return read_run(self.store, run_id)

    def log(self, run_id: str) -> str:
        path = self.folder / "runs" / run_id / "log"
        return path.read_text() if path.exists() else ""

    def events(self, run_id: str) -> dict[str, str]:
        """Causes of events, by reason."""
        with self.store.read() as queries:
            return {event.what: event.why for event in queries.events(run_id=run_id)}

    @asynccontextmanager
    async def controlled(self) -> AsyncIterator[None]:
        running = asyncio.create_task(self.controller.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def go(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test's coroutine with the controller beside it."""

        async def whole() -> None:
            async with self.controlled():
                await story()

        asyncio.run(whole())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.01)

    async def until_state(self, run_id: str, *states: RunState) -> Run:
        await self.until(lambda: self.read(run_id).state in states)
        return self.read(run_id)

    async def until_over(self, run_id: str) -> Run:
        await self.until(lambda: self.read(run_id).is_over)
        return self.read(run_id)

    async def until_logged(self, run_id: str, text: str) -> None:
        await self.until(lambda: text in self.log(run_id))

    def close(self) -> None:
        with self.store.read() as queries:
            for run in queries.runs():
                if run.process is not None:
                    self.launcher.kill(run.run_id, run.process)
        self.store.close()
