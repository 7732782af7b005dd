"""Figures of batches that were generated without a server."""

import pytest

from headrace.bench.errors import BenchError
from headrace.bench.figures.offline_figures import EngineInfo, offline_figures


def test_without_a_measured_batch_there_are_no_figures() -> None:
    with pytest.raises(BenchError, match="Nothing was measured"):
        offline_figures(
            "latency",
            EngineInfo("m", "bfloat16", 64, {}),
            num_prompts=4,
            input_len=6,
            output_len=10,
            batches_s=[],
            memory=None,
        )
