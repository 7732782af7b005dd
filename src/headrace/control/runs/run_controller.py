"""The loop that drives runs to completion, one step of `RunSteps` at a time for each run.

The next step follows from the run's state in the store, so a restarted control plane resumes it.
"""

import asyncio
import logging

from headrace.control.errors import StoreError, cause_of
from headrace.control.log_on_change import ChangeLogger
from headrace.control.resources import Run
from headrace.control.runs.run_steps import RunSteps
from headrace.control.store.store import Store
from headrace.core.errors import HeadraceError

logger = logging.getLogger("headrace.control")

_PASS_S = 0.5
_IDLE_PASS_S = 2.0
"""While no run is open. A new run wakes the loop."""


class RunController:
    """``await run()`` until cancelled."""

    def __init__(self, store: Store, steps: RunSteps) -> None:
        self._store = store
        self._steps = steps
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The step in progress by run id."""
        self._woken = asyncio.Event()
        self._log = ChangeLogger(logger)

    def wake(self) -> None:
        """Start the next pass now. Call it in the event loop's thread."""
        self._woken.set()

    async def run(self) -> None:
        """Run passes until cancelled. An error of one run does not affect the others.

        Commands keep running.
        """
        try:
            while True:
                self._woken.clear()
                has_open_runs = await self.do_pass()
                await self._pause(_PASS_S if has_open_runs else _IDLE_PASS_S)
        finally:
            await self.close()

    async def do_pass(self) -> bool:
        """Start the next step of each run that has none in progress; whether any run is open."""
        try:
            runs = await asyncio.to_thread(self._open_runs)
        except Exception as error:  # the database is unavailable, no threads: the next pass retries
            self._log.failed("runs", cause_of(error))
            return True
        self._log.succeeded("runs")
        for run in runs:
            if run.run_id not in self._tasks:
                self._tasks[run.run_id] = asyncio.create_task(self._do_step(run))
        return bool(runs or self._tasks)

    async def close(self) -> None:
        """Cancel the steps in progress; `run` does it itself."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _open_runs(self) -> list[Run]:
        with self._store.read() as queries:
            return queries.runs(open_only=True)

    async def _do_step(self, run: Run) -> None:
        part = f"run {run.run_id}"
        try:
            if await asyncio.to_thread(self._take_step, run):
                self._woken.set()  # the next step may be due
        except Exception as error:  # the database is unavailable: the next pass retries
            self._log.failed(part, cause_of(error))
        else:
            self._log.succeeded(part)
        finally:
            del self._tasks[run.run_id]

    def _take_step(self, run: Run) -> bool:
        """Returns whether it changed anything. A run with a failed step fails."""
        try:
            return self._steps.take(run)
        except StoreError:
            raise
        except Exception as error:
            if not isinstance(error, HeadraceError | OSError):
                logger.exception("run %s: step failed", run.run_id)
            return self._steps.fail(run.run_id, cause_of(error))

    async def _pause(self, duration_s: float) -> None:
        try:
            async with asyncio.timeout(duration_s):
                await self._woken.wait()
        except TimeoutError:
            pass
