"""Device and dtype are chosen with a reason."""

from pathlib import Path

import pytest
import torch

from headrace.core.errors import InvalidParameterError
from headrace.engine.hardware.devices import (
    CudaMemory,
    choose_device,
    choose_dtype,
    describe_device,
)


def cpu_with(root: Path, flags: str) -> Path:
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(f"flags : {flags}\n")
    return root


def test_auto_on_a_cpu_with_bf16(tmp_path: Path) -> None:
    choice = choose_dtype("auto", torch.device("cpu"), cpu_with(tmp_path, "avx512_bf16"))
    assert choice.dtype == torch.bfloat16
    assert choice.name == "bfloat16"
    assert "avx512_bf16" in choice.why


def test_auto_on_a_cpu_without_bf16(tmp_path: Path) -> None:
    choice = choose_dtype("auto", torch.device("cpu"), cpu_with(tmp_path, "avx2"))
    assert choice.dtype == torch.float32
    assert "no bfloat16" in choice.why


def test_a_requested_dtype_is_used(tmp_path: Path) -> None:
    choice = choose_dtype("float16", torch.device("cpu"), cpu_with(tmp_path, "avx512_bf16"))
    assert (choice.dtype, choice.why) == (torch.float16, "as configured")


def test_the_requested_device_is_used() -> None:
    assert choose_device("cpu").device == torch.device("cpu")
    assert describe_device(torch.device("cpu")) == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_cuda() -> None:
    assert choose_device("auto").device == torch.device("cpu")
    with pytest.raises(InvalidParameterError, match="--device cpu") as refused:
        choose_device("cuda")
    assert refused.value.param == "device"


@pytest.mark.parametrize(
    ("free", "utilization", "allowed"),
    [(100, 0.9, 90), (50, 0.9, 40), (5, 0.9, 0), (100, 1.0, 100)],
)
def test_the_cuda_budget_subtracts_memory_of_other_processes(
    free: int, utilization: float, allowed: int
) -> None:
    assert CudaMemory(free, 100).within(utilization) == allowed
