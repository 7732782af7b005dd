"""The seam between the engine core's loop and whatever computes: the model runner's protocol."""

from typing import Protocol

from headrace.scheduler.output import RunnerOutput, SchedulerOutput


class Runner(Protocol):
    """Computes one step. Implemented by ModelRunner, and by a fake in ``headrace.testing``."""

    def execute(self, step: SchedulerOutput) -> RunnerOutput:
        """Compute every scheduled token and draw one for each entry that samples.

        What concerns one request alone is reported as its failure in the output; an exception
        ends the engine.
        """
        ...
