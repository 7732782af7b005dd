"""Phases are timed and reported; a context beyond the model's own is refused."""

import pytest

from headrace.core.errors import ModelError
from headrace.engine.config import EngineConfig
from headrace.engine.messages import StartupPhase
from headrace.engine.startup import PhaseTimer, wanted_model_len


class FakeClock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time


def test_a_phase_reports_begin_progress_and_end() -> None:
    clock = FakeClock()
    reported: list[StartupPhase] = []
    timer = PhaseTimer(reported.append, clock)
    with timer.phase("load weights") as progress:
        progress(3, 10)
        clock.time += 2.5
    assert reported == [
        StartupPhase("load weights", None),
        StartupPhase("load weights", None, 3, 10),
        StartupPhase("load weights", 2.5),
    ]
    assert timer.phases == [("load weights", 2.5)]


def test_a_failed_phase_reports_no_end() -> None:
    reported: list[StartupPhase] = []
    timer = PhaseTimer(reported.append, FakeClock())
    with pytest.raises(ModelError), timer.phase("load weights"):
        raise ModelError("damaged")
    assert reported == [StartupPhase("load weights", None)]
    assert timer.phases == []


def test_the_context_defaults_to_the_models() -> None:
    assert wanted_model_len(EngineConfig(model="m"), 2048) == 2048
    assert wanted_model_len(EngineConfig(model="m", max_model_len=100), 2048) == 100


def test_a_context_above_the_models_is_refused() -> None:
    with pytest.raises(ModelError, match=r"4096.*2048"):
        wanted_model_len(EngineConfig(model="m", max_model_len=4096), 2048)
