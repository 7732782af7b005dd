"""Takes runs from wish to end: the loop around `RunSteps`, one step at a time for each run.

Knows no service. What it remembers can be lost: each run's next step is decided by its state in
the store, so that a controller that starts anew goes on where another one ended.
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
"""While no run is open. A new run starts a pass at once."""


class RunController:
    """The one that acts on runs. There is one a platform: ``await run()`` until cancelled."""

    def __init__(self, store: Store, steps: RunSteps) -> None:
        self._store = store
        self._steps = steps
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By run: what is being done for it right now, one thing at a time."""
        self._woken = asyncio.Event()
        self._log = ChangeLogger(logger)

    def wake(self) -> None:
        """There may be something to do. To be called in the event loop's thread."""
        self._woken.set()

    async def run(self) -> None:
        """Go on until cancelled. What goes wrong with one run never stops the others.

        Commands are left running.
        """
        try:
            while True:
                self._woken.clear()
                has_open_runs = await self.do_pass()
                await self._pause(_PASS_S if has_open_runs else _IDLE_PASS_S)
        finally:
            await self.close()

    async def do_pass(self) -> bool:
        """Begin the next step of each run that waits for none. Returns whether runs are open."""
        try:
            runs = await asyncio.to_thread(self._open_runs)
        except Exception as error:  # the database is away, there are no threads: the next pass
            self._log.failed("runs", cause_of(error))
            return True
        self._log.succeeded("runs")
        for run in runs:
            if run.run_id not in self._tasks:
                self._tasks[run.run_id] = asyncio.create_task(self._do_step(run))
        return bool(runs or self._tasks)

    async def close(self) -> None:
        """What `run` does at its end, for those who do passes themselves."""
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
                self._woken.set()  # the next one may be due
        except Exception as error:  # the database is away: the next pass tries again
            self._log.failed(part, cause_of(error))
        else:
            self._log.succeeded(part)
        finally:
            del self._tasks[run.run_id]

    def _take_step(self, run: Run) -> bool:
        """Whether it changed anything. A run whose step fails, for any reason, has failed."""
        try:
            return self._steps.take(run)
        except StoreError:
            raise
        except Exception as error:
            if not isinstance(error, HeadraceError | OSError):
                logger.exception("run %s", run.run_id)
            return self._steps.fail(run.run_id, cause_of(error))

    async def _pause(self, duration_s: float) -> None:
        try:
            async with asyncio.timeout(duration_s):
                await self._woken.wait()
        except TimeoutError:
            pass
