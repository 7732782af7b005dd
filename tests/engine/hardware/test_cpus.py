"""Threads follow physical cores, affinity and quota; bfloat16 follows the CPU's flags."""

import os
from pathlib import Path

import pytest

from headrace.engine.hardware.cpus import bf16_instructions, choose_num_threads


def lay_out(root: Path, siblings: dict[int, str]) -> None:
    for cpu, text in siblings.items():
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(text + "\n")


@pytest.fixture
def cpu_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)


@pytest.mark.usefixtures("cpu_mask")
def test_hyperthreads_count_once(tmp_path: Path) -> None:
    lay_out(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})
    assert choose_num_threads(None, tmp_path).num_threads == 2


@pytest.mark.usefixtures("cpu_mask")
def test_without_topology_every_cpu_is_a_core(tmp_path: Path) -> None:
    assert choose_num_threads(None, tmp_path).num_threads == 4


@pytest.mark.usefixtures("cpu_mask")
@pytest.mark.parametrize(("quota", "threads"), [("250000", 2), ("50000", 1), ("900000", 4)])
def test_a_quota_limits_threads(tmp_path: Path, quota: str, threads: int) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text(f"{quota} 100000\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    assert choose_num_threads(None, tmp_path).num_threads == threads


def test_the_requested_number_of_threads_is_used(tmp_path: Path) -> None:
    choice = choose_num_threads(7, tmp_path)
    assert (choice.num_threads, choice.why) == (7, "as configured")


def test_this_machine_has_at_least_one_core() -> None:
    assert 1 <= choose_num_threads(None).num_threads <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", "avx512_bf16"),
        ("flags\t\t: fpu avx512_bf16 amx_bf16\n", "amx_bf16"),
        ("Features\t: fp asimd bf16\n", "bf16"),
        ("flags\t\t: fpu avx2 avx512f\n", None),
        ("model name\t: made for bf16\n", None),
    ],
)
def test_bf16_is_detected_by_cpu_flag(tmp_path: Path, cpuinfo: str, expected: str | None) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert bf16_instructions(tmp_path) == expected


def test_without_cpuinfo_bf16_is_not_assumed(tmp_path: Path) -> None:
    assert bf16_instructions(tmp_path) is None
