"""docs/measure.md documents every field of the result file and every name that users may give."""

from dataclasses import fields
from pathlib import Path

import pytest

from headrace.bench.figures.distribution import Distribution
from headrace.bench.figures.goodput import LIMIT_NAMES, Goodput
from headrace.bench.figures.offline_figures import OfflineFigures
from headrace.bench.figures.pairing import PairedRatio
from headrace.bench.figures.run_figures import Figures, TokenCounts
from headrace.bench.figures.sweep_curve import SweepCurve, SweepPoint
from headrace.bench.http.server_info import ServerInfo
from headrace.bench.memory.memory_watch import MemorySample, MemoryUse
from headrace.bench.records import ClientHealth, Failure, RequestRecord
from headrace.bench.results.machine import Machine
from headrace.bench.results.result_file import SCHEMA, BenchResult, RunResult
from headrace.bench.workloads.options import DATASETS

PAGE = (Path(__file__).parents[2] / "docs" / "measure.md").read_text()


@pytest.mark.parametrize(
    "part",
    [
        BenchResult,
        RunResult,
        ServerInfo,
        Machine,
        Figures,
        TokenCounts,
        Distribution,
        Goodput,
        ClientHealth,
        MemoryUse,
        MemorySample,
        RequestRecord,
        SweepCurve,
        SweepPoint,
        PairedRatio,
        OfflineFigures,
    ],
)
def test_every_field_is_documented(part: type) -> None:
    names = {field.name for field in fields(part)}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_every_name_is_documented() -> None:
    names = {*DATASETS, *LIMIT_NAMES, *Failure, f'"schema": "{SCHEMA}"'}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
