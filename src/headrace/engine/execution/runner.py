"""The protocol between the engine core's loop and the model runner."""

from collections.abc import Callable
from typing import Protocol

from headrace.engine.grammar.token_masks import TokenMasks
from headrace.scheduler.output import RunnerOutput, SchedulerOutput


class Runner(Protocol):
    """Executes steps. Implemented by ModelRunner and by ``headrace.testing.fakes.fake_runner``."""

    def execute(
        self, step: SchedulerOutput, masks: Callable[[], TokenMasks] | None = None
    ) -> RunnerOutput:
        """Compute every scheduled token, and sample for each entry with ``needs_sample``.

        masks: gives the masks of the requests with a grammar, which are computed meanwhile, so it
        is to be called as late as possible. None where the step has no such request.
        A failure of one request is reported in the output; an exception ends the engine.
        """
        ...
