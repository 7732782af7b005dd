"""Times the phases of a startup."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headrace.core.clock import Clock
from headrace.engine.messages import StartupPhase

Report = Callable[[StartupPhase], None]


class PhaseTimer:
    """Times the startup phases and reports each one's beginning, progress and end."""

    def __init__(self, report: Report, clock: Clock) -> None:
        self._report = report
        self._clock = clock
        self.phases: list[tuple[str, float]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Time what runs inside; the value reports progress as (done, total)."""
        self._report(StartupPhase(name, None))
        began = self._clock.now()
        yield lambda done, total: self._report(StartupPhase(name, None, done, total))
        seconds = self._clock.now() - began
        self.phases.append((name, seconds))
        self._report(StartupPhase(name, seconds))
