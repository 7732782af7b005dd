"""This machine's memory bandwidth and arithmetic throughput, measured with PyTorch."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

_NUM_BYTES_READ = {"cpu": 512 * 2**20, "cuda": 4 * 2**30}
"""By kind of device: far more than its caches hold, and long enough to hide a kernel's launch."""
_GEMM_SIZES = {"cpu": (512, 1024, 2048, 4096), "cuda": (2048, 4096, 8192)}
_NUM_REPEATS = 5


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """The two that a roofline has (Williams et al., 2009)."""

    bytes_per_s: float
    """Read from memory."""
    flops_per_s: float
    """In products of matrices, in the type that the model computes in."""


def measure_limits(
    device: torch.device, dtype: torch.dtype, gemm_sizes: Sequence[int] | None = None
) -> MachineLimits:
    """With all cores. Takes some seconds; the machine should be idle otherwise.

    gemm_sizes: of the square matrices; those that suit the device if not given.
    """
    num_threads = torch.get_num_threads()  # an engine with threads of its own leaves PyTorch few
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        return MachineLimits(_bytes_per_s(device), _flops_per_s(device, dtype, gemm_sizes))
    finally:
        torch.set_num_threads(num_threads)


def _bytes_per_s(device: torch.device) -> float:
    num_bytes = _NUM_BYTES_READ[device.type]
    read = torch.ones(num_bytes // 4, dtype=torch.float32, device=device)
    return num_bytes / _best_s(lambda: read.sum(), device)


def _flops_per_s(
    device: torch.device, dtype: torch.dtype, gemm_sizes: Sequence[int] | None
) -> float:
    """The best over the sizes: libraries are faster at some than at others."""
    rates = []
    for size in gemm_sizes or _GEMM_SIZES[device.type]:
        matrix = torch.ones(size, size, dtype=dtype, device=device)
        rates.append(2.0 * size**3 / _best_s(lambda m=matrix: m @ m, device))  # type: ignore[misc]
    return max(rates)


def _best_s(work: Callable[[], object], device: torch.device) -> float:
    """Of several tries, the best: what a limit is about is what can be reached at all."""
    work()
    tries = []
    for _ in range(_NUM_REPEATS):
        _wait_for(device)
        began = time.perf_counter()
        work()
        _wait_for(device)
        tries.append(time.perf_counter() - began)
    return min(tries)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
