"""The one place where NVML is opened. Knows no replica."""

from typing import Any

import pynvml  # type: ignore[import-untyped]


def open_handles() -> list[Any]:
    """NVML's handles of this machine's GPUs, in its order; none where there is no NVML."""
    try:
        pynvml.nvmlInit()
        return [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
    except pynvml.NVMLError:
        return []
