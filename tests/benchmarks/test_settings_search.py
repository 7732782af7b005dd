"""Candidate settings are interleaved, and each workload gets the best one."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.bench.errors import ServerError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@dataclass(eq=False)
class FakeServer:
    shown: str
    rates: dict[str, list[float]]
    """By workload, one per run; a missing one is a failed run."""
    name: str = "peer"
    events: list[str] = field(default_factory=list)

    def stop(self) -> None:
        self.events.append(f"stop {self.shown}")


class FakeRunner:
    def start(self, server: FakeServer) -> None:
        server.events.append(f"start {server.shown}")

    def send(self, workload: Any, draw: str, server: FakeServer, setting: object) -> Any:
        server.events.append(f"{server.shown} {workload.name} {draw}")
        rates = server.rates[workload.name]
        if not rates:
            raise ServerError("out of memory")
        return SimpleNamespace(
            run=SimpleNamespace(figures=SimpleNamespace(output_tokens_per_s=rates.pop(0)))
        )


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from settings_search import search_settings  # a script's module, found by its folder

    yield search_settings
    for name in ("settings_search", "servers", "workload_runner", "workloads"):
        sys.modules.pop(name, None)


W1, W2 = SimpleNamespace(name="W1"), SimpleNamespace(name="W2")


def test_each_workload_gets_the_candidate_with_the_best_median(search: Any) -> None:
    few = FakeServer("few slots", {"W1": [10, 11, 90], "W2": [30, 31, 32]})
    many = FakeServer("many slots", {"W1": [20, 21, 22], "W2": [20, 99, 21]})
    found = search([few, many], [W1, W2], FakeRunner(), 3)
    assert {name: choice.server.shown for name, choice in found.items()} == {
        "W1": "many slots",
        "W2": "few slots",
    }
    assert [trial["is_best"] for trial in found["W1"].for_file()] == [False, True]
    assert found["W2"].for_file()[0]["output_tokens_per_s"] == [30, 31, 32]


def test_candidates_are_interleaved_one_at_a_time(search: Any) -> None:
    events: list[str] = []
    candidates = [FakeServer(name, {"W1": [1, 1]}, events=events) for name in ("a", "b")]
    search(candidates, [W1], FakeRunner(), 2)
    assert events == [
        *("start a", "a W1 search/0", "stop a", "start b", "b W1 search/0", "stop b"),
        *("start b", "b W1 search/1", "stop b", "start a", "a W1 search/1", "stop a"),
    ]


def test_a_candidate_that_fails_is_excluded_and_not_tried_again(search: Any) -> None:
    events: list[str] = []
    broken = FakeServer("broken", {"W1": [100]}, events=events)
    sound = FakeServer("sound", {"W1": [1, 1, 1]}, events=events)
    choice = search([broken, sound], [W1], FakeRunner(), 3)["W1"]
    assert choice.server is sound
    assert choice.trials[0].problem == "out of memory"
    assert events.count("start broken") == 2
    with pytest.raises(ServerError, match="peer: every candidate failed"):
        search([broken, FakeServer("too", {"W1": []})], [W1], FakeRunner(), 1)


def test_a_single_candidate_is_not_tried(search: Any) -> None:
    only = FakeServer("only", {})
    choice = search([only], [W1], FakeRunner(), 1)["W1"]
    assert (choice.server, choice.for_file(), only.events) == (only, [], [])
