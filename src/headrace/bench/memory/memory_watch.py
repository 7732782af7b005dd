"""Samples the memory of a server's processes during a run, in a thread."""

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from headrace.bench.memory.gpu_memory import GpuMemory, GpuScope, open_gpu_memory
from headrace.bench.memory.server_process_tree import ProcessTree


@dataclass(frozen=True, slots=True)
class MemorySample:
    at_s: float
    """Seconds since the start of the run; negative during warm-up."""
    host_bytes: int | None
    """Resident memory of the server's process tree."""
    gpu_bytes: int | None


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """A server's memory over a run."""

    host_peak_bytes: int | None
    gpu_peak_bytes: int | None
    gpu_scope: GpuScope | None
    """Whether gpu bytes are the server's alone or the devices' whole use."""
    pids: list[int]
    """The roots of the process tree."""
    samples: list[MemorySample] = field(default_factory=list)


class MemoryWatch:
    """Context manager around a run; ``use`` has the result."""

    def __init__(self, tree: ProcessTree, every_s: float = 0.5) -> None:
        self._tree = tree
        self._every_s = every_s
        self._samples: list[MemorySample] = []
        """Their times are of ``time.perf_counter``."""
        self._gpu: GpuMemory | None = None
        self._gpu_scope: GpuScope | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory watch", daemon=True)

    def use(self, run_started_at: float) -> MemoryUse:
        """run_started_at: start of the run, by ``time.perf_counter``."""
        samples = [
            MemorySample(round(each.at_s - run_started_at, 3), each.host_bytes, each.gpu_bytes)
            for each in self._samples
        ]
        return MemoryUse(
            host_peak_bytes=_peak([sample.host_bytes for sample in samples]),
            gpu_peak_bytes=_peak([sample.gpu_bytes for sample in samples]),
            gpu_scope=self._gpu_scope,
            pids=self._tree.root_pids,
            samples=samples,
        )

    def __enter__(self) -> "MemoryWatch":
        self._gpu = open_gpu_memory()  # takes time, so before the run
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._gpu is not None:
            self._gpu.close()
            self._gpu = None

    def _watch(self) -> None:
        self._sample()
        while not self._stop.wait(self._every_s):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        reading = None if self._gpu is None else self._gpu.read(self._tree.pids)
        if reading is not None:
            self._gpu_scope = reading.scope
        self._samples.append(
            MemorySample(
                at_s=time.perf_counter(),
                host_bytes=self._tree.resident_bytes(),
                gpu_bytes=None if reading is None else reading.used_bytes,
            )
        )


def _peak(values: list[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
