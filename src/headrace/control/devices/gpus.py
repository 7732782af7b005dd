"""Which GPUs there are to give away. Knows not who gets them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pynvml  # type: ignore[import-untyped]

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that tells CUDA which GPUs are there for a program."""


@dataclass(frozen=True, slots=True)
class Gpu:
    uuid: str
    """``GPU-3f…``: the same after a restart of the machine."""
    index: int
    """As `nvidia-smi` counts, which a restart may change."""


def find_gpus(visible: str | None) -> tuple[Gpu, ...]:
    """Those that NVML sees and ``visible``, our own CUDA_VISIBLE_DEVICES, leaves to us."""
    try:
        uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in open_handles()]
    except pynvml.NVMLError:
        return ()
    return visible_gpus([Gpu(uuid, index) for index, uuid in enumerate(uuids)], visible)


def visible_gpus(gpus: Sequence[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """As CUDA reads the variable: numbers or beginnings of UUIDs, up to the first that is none.

    Numbers are taken for NVML's, which are CUDA's own where all GPUs are of one model or
    CUDA_DEVICE_ORDER is PCI_BUS_ID.
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
    """NVML's handles of this machine's GPUs, in its order; none where there is no NVML."""
    try:
        pynvml.nvmlInit()
        return [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
    except pynvml.NVMLError:
        return []
