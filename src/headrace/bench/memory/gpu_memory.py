"""GPU memory in use on this machine's NVIDIA devices, by NVML."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

GpuScope = Literal["processes", "devices"]


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One measurement of NVML."""

    used_bytes: int
    scope: GpuScope
    """"processes": of those asked for alone. "devices": of everybody on all devices, where NVML
    does not know the processes by the ids that we know them by (in a container)."""


class GpuMemory:
    """An open NVML session; see ``open_gpu_memory``."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._devices = [
            nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())
        ]

    @property
    def names(self) -> list[str]:
        return [_text(self._nvml.nvmlDeviceGetName(device)) for device in self._devices]

    def read(self, pids: Collection[int]) -> GpuSample | None:
        """Memory in use now; None if NVML does not report it."""
        with suppress(self._nvml.NVMLError):
            by_process = [
                process.usedGpuMemory
                for device in self._devices
                for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(device)
                if process.pid in pids and process.usedGpuMemory is not None
            ]
            if by_process:
                return GpuSample(sum(by_process), "processes")
        with suppress(self._nvml.NVMLError):
            used = [self._nvml.nvmlDeviceGetMemoryInfo(device).used for device in self._devices]
            return GpuSample(sum(used), "devices")
        return None

    def close(self) -> None:
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()


def open_gpu_memory() -> GpuMemory | None:
    """None without an NVIDIA device, its driver or pynvml."""
    try:
        import pynvml  # type: ignore[import-untyped]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        memory = GpuMemory(pynvml)
    except pynvml.NVMLError:
        return None
    return memory if memory.names else None


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
