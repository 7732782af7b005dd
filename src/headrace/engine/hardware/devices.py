"""Chooses the device and the type of numbers to compute with, each with its reason.

Allocates nothing and knows no models.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from headrace.core.errors import InvalidParameterError
from headrace.engine.config import Device, DType
from headrace.engine.hardware import cpus

_TORCH_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_BF16_CAPABILITY = (8, 0)
"""The first CUDA compute capability (Ampere) that multiplies bfloat16 in hardware."""


@dataclass(frozen=True)
class DeviceChoice:
    device: torch.device
    why: str


@dataclass(frozen=True)
class DTypeChoice:
    dtype: torch.dtype
    why: str

    @property
    def name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class CudaMemory:
    """One CUDA device's memory, in bytes."""

    free: int
    total: int

    def within(self, utilization: float) -> int:
        """What may still be taken if only this share of the whole is to be used."""
        used = self.total - self.free
        return max(0, min(self.free, int(self.total * utilization) - used))


def choose_device(requested: Device) -> DeviceChoice:
    """The device asked for, or CUDA where there is one."""
    has_cuda = torch.cuda.is_available()
    if requested == "cuda":
        if not has_cuda:
            raise InvalidParameterError(
                "device",
                "cuda was asked for, but torch finds no CUDA device (check nvidia-smi, and that "
                "torch is a build with CUDA); use --device cpu to go on without",
            )
        return DeviceChoice(_cuda_device(), "as asked")
    if requested == "cpu":
        return DeviceChoice(torch.device("cpu"), "as asked")
    if has_cuda:
        return DeviceChoice(_cuda_device(), "there is a CUDA device")
    return DeviceChoice(torch.device("cpu"), "there is no CUDA device")


def choose_dtype(requested: DType, device: torch.device, root: Path = Path("/")) -> DTypeChoice:
    """The type asked for, or the narrowest of the usual ones that the device computes fast."""
    if requested != "auto":
        return DTypeChoice(_TORCH_DTYPES[requested], "as asked")
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= _BF16_CAPABILITY:
            return DTypeChoice(torch.bfloat16, "the CUDA device computes it in hardware")
        return DTypeChoice(torch.float16, "the CUDA device is older than bfloat16 in hardware")
    instructions = cpus.bf16_instructions(root)
    if instructions is None:
        return DTypeChoice(torch.float32, "the CPU has no bfloat16 in hardware")
    return DTypeChoice(torch.bfloat16, f"the CPU has {instructions}")


def cuda_memory(device: torch.device) -> CudaMemory:
    """The device's memory as it is now, whoever uses it."""
    free, total = torch.cuda.mem_get_info(device)
    return CudaMemory(free, total)


def describe_device(device: torch.device) -> str:
    """The device's name for the start's table."""
    if device.type != "cuda":
        return device.type
    return f"{device} ({torch.cuda.get_device_name(device)})"


def _cuda_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())
