"""GPU utilization by process, from NVML."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pynvml  # type: ignore[import-untyped]

from headrace.control.devices.gpus import open_handles


def open_nvml() -> "NvmlGpuReader | None":
    """A reader for this machine's GPUs; None if it has none."""
    devices = open_handles()
    return NvmlGpuReader(devices) if devices else None


class NvmlGpuReader:
    def __init__(self, devices: Sequence[Any]) -> None:
        self._devices = devices
        self._last_read_us = [int(time.time() * 1e6)] * len(devices)

    def read(self) -> Sequence[Mapping[int, float]]:
        return [self._read_device(index) for index in range(len(self._devices))]

    def _read_device(self, index: int) -> Mapping[int, float]:
        device = self._devices[index]
        try:
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(device)
        except pynvml.NVMLError:
            return {}
        percents = {int(process.pid): 0.0 for process in running}
        samples: Sequence[Any] = ()
        # NVML fails with "not found" if no process was active since the last sample.
        with suppress(pynvml.NVMLError_NotFound):
            try:
                samples = pynvml.nvmlDeviceGetProcessUtilization(device, self._last_read_us[index])
            except pynvml.NVMLError_NotSupported:
                return self._shared(device, percents)
        for sample in samples:
            if sample.pid in percents:
                percents[sample.pid] = max(percents[sample.pid], float(sample.smUtil))
            self._last_read_us[index] = max(self._last_read_us[index], int(sample.timeStamp))
        return percents

    def _shared(self, device: Any, percents: dict[int, float]) -> Mapping[int, float]:
        """The whole GPU's utilization in equal parts, if the driver does not report processes."""
        if not percents:
            return percents
        with suppress(pynvml.NVMLError):
            whole = float(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)
            return dict.fromkeys(percents, whole / len(percents))
        return percents
