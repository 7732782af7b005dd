"""Chooses the device and the dtype, each with its reason."""

from dataclasses import dataclass
from pathlib import Path

import torch

from headrace.core.errors import InvalidParameterError
from headrace.engine.hardware import cpus

_TORCH_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_BF16_CAPABILITY = (8, 0)
"""The first CUDA compute capability with bfloat16 in hardware (Ampere)."""


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
        """Bytes that may still be allocated if ``utilization`` of the total may be used."""
        used = self.total - self.free
        return max(0, min(self.free, int(self.total * utilization) - used))


def choose_device(requested: str) -> DeviceChoice:
    """The configured device; with "auto", CUDA if available."""
    has_cuda = torch.cuda.is_available()
    if requested == "cuda":
        if not has_cuda:
            raise InvalidParameterError(
                "device",
                "torch finds no CUDA device (check nvidia-smi, and that "
                "torch is a build with CUDA). Use --device cpu to run without one.",
            )
        return DeviceChoice(_cuda_device(), "as configured")
    if requested == "cpu":
        return DeviceChoice(torch.device("cpu"), "as configured")
    if has_cuda:
        return DeviceChoice(_cuda_device(), "CUDA device found")
    return DeviceChoice(torch.device("cpu"), "no CUDA device found")


def choose_dtype(requested: str, device: torch.device, root: Path = Path("/")) -> DTypeChoice:
    """The configured dtype; with "auto", bfloat16 if the device supports it, else float32."""
    if requested != "auto":
        return DTypeChoice(_TORCH_DTYPES[requested], "as configured")
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= _BF16_CAPABILITY:
            return DTypeChoice(torch.bfloat16, "the CUDA device supports it")
        return DTypeChoice(torch.float16, "the CUDA device has no bfloat16 support")
    instructions = cpus.bf16_instructions(root)
    if instructions is None:
        return DTypeChoice(torch.float32, "the CPU has no bfloat16 instructions")
    return DTypeChoice(torch.bfloat16, f"the CPU has {instructions}")


def choose_encoder_dtype(requested: str, device: torch.device) -> DTypeChoice:
    """As ``choose_dtype``, but with "auto" float32 on a CPU: encoders are small, and their vectors
    are stored and compared with those of other programs."""
    if requested == "auto" and device.type == "cpu":
        return DTypeChoice(torch.float32, "the default of encoders on a CPU")
    return choose_dtype(requested, device)


def cuda_memory(device: torch.device) -> CudaMemory:
    """The device's current memory, the use by other processes included."""
    free, total = torch.cuda.mem_get_info(device)
    return CudaMemory(free, total)


def describe_device(device: torch.device) -> str:
    """The device's name for the startup table."""
    if device.type != "cuda":
        return device.type
    return f"{device} ({torch.cuda.get_device_name(device)})"


def _cuda_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())
