"""The offline modes, over a real engine with a tiny model."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.bench import offline
from headrace.bench.errors import OptionError
from headrace.bench.figures.distribution import distribution_of
from headrace.bench.offline import OfflinePlan, run_offline
from headrace.bench.results.measured_run import EndedEarlyError
from headrace.bench.results.request_csv import write_batches
from headrace.testing.models.tiny_models import write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory: Path = tmp_path_factory.mktemp("tiny")
    write_tiny_model(directory)
    return str(directory)


def plan(**changes: object) -> OfflinePlan:
    values: dict[str, object] = {
        "mode": "throughput",
        "num_prompts": 3,
        "input_len": 8,
        "output_len": 4,
        "num_iters": 2,
        "engine_options": {"device": "cpu", "kv_cache_memory": "16MiB", "max_model_len": 64},
        **changes,
    }
    return OfflinePlan(**values)  # type: ignore[arg-type]


def test_batches_are_generated_and_timed(model: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    outcome = run_offline(model, plan(), lambda done, total: seen.append((done, total)))
    figures = outcome.figures
    assert outcome.ended_by is None
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]  # one warm-up, two measured
    assert figures.batch_s == distribution_of(figures.batches_s)
    assert len(figures.batches_s) == 2
    assert figures.output_tokens_per_s == pytest.approx(3 * 4 / figures.batch_s.median)
    assert figures.engine.max_model_len == 64
    assert figures.engine.dtype in ("float32", "bfloat16")
    assert figures.memory is not None
    assert figures.memory.host_peak_bytes is not None

    write_batches(tmp_path / "b.csv", figures)
    lines = (tmp_path / "b.csv").read_text().splitlines()
    assert lines[0] == "batch,num_prompts,input_len,output_len,batch_s"
    assert lines[2].startswith("1,3,8,4,")
    assert len(lines) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("odd"), MemoryError()])
def test_an_interrupted_run_returns_completed_batches(
    model: str, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def interrupted_in(batch: int) -> Callable[..., float]:
        batches = itertools.count()

        def time_batch(*arguments: object) -> float:
            if next(batches) == batch:
                raise error
            return 0.5

        return time_batch

    monkeypatch.setattr(offline, "_time_batch", interrupted_in(3))
    outcome = run_offline(model, plan(num_iters=5))
    assert outcome.figures.batches_s == [0.5, 0.5]
    assert isinstance(outcome.ended_by, EndedEarlyError)
    monkeypatch.setattr(offline, "_time_batch", interrupted_in(1))
    with pytest.raises(type(error)):
        run_offline(model, plan(num_iters=5))


def test_prompts_beyond_the_context_are_refused(model: str) -> None:
    with pytest.raises(OptionError, match="context of 64 tokens"):
        run_offline(model, plan(input_len=61))


@pytest.mark.parametrize("name", ["num_prompts", "input_len", "output_len", "num_iters"])
def test_invalid_numbers_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="at least 1"):
        run_offline("no model is loaded for this", plan(**{name: 0}))
