"""This machine's NVIDIA GPUs, as NVML reports them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pynvml  # type: ignore[import-untyped]

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable that limits the GPUs that CUDA shows to a process."""


@dataclass(frozen=True, slots=True)
class Gpu:
    uuid: str
    """``GPU-3f…``: stable across reboots."""
    index: int
    """As in `nvidia-smi`; a reboot may change it."""


def find_gpus(visible: str | None) -> tuple[Gpu, ...]:
    """The GPUs that NVML reports and ``visible``, our CUDA_VISIBLE_DEVICES, does not hide."""
    try:
        uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in open_handles()]
    except pynvml.NVMLError:
        return ()
    return visible_gpus([Gpu(uuid, index) for index, uuid in enumerate(uuids)], visible)


def visible_gpus(gpus: Sequence[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """Parsed as CUDA does: indexes or prefixes of UUIDs, up to the first that matches no GPU.

    Indexes are NVML's, which equal CUDA's if all GPUs are of one model or CUDA_DEVICE_ORDER is
    PCI_BUS_ID.
    """
    if visible is None:
        return tuple(gpus)
    found: dict[str, Gpu] = {}
    for word in visible.split(","):
        gpu = _named(gpus, word.strip())
        if gpu is None:
            break
        found[gpu.uuid] = gpu
    return tuple(found.values())


def _named(gpus: Iterable[Gpu], word: str) -> Gpu | None:
    named = [
        gpu
        for gpu in gpus
        if word == str(gpu.index) or (word.startswith("GPU-") and gpu.uuid.startswith(word))
    ]
    return named[0] if len(named) == 1 else None


def open_handles() -> list[Any]:
    """NVML's handles of this machine's GPUs, in NVML's order; empty without NVML."""
    try:
        pynvml.nvmlInit()
        return [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
    except pynvml.NVMLError:
        return []
