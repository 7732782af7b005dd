"""The protocol between the engine core's loop and the model runner."""

from typing import Protocol

from headrace.scheduler.output import RunnerOutput, SchedulerOutput


class Runner(Protocol):
    """Executes steps. Implemented by ModelRunner and by ``headrace.testing.fakes.fake_runner``."""

    def execute(self, step: SchedulerOutput) -> RunnerOutput:
        """Compute every scheduled token, and sample for each entry with ``needs_sample``.

        A failure of one request is reported in the output; an exception ends the engine.
        """
        ...
