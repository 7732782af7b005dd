"""The mock's load: a queue of responses, and the metrics that model servers expose."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable

_EDGES_S = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Load:
    """Runs up to ``max_concurrency`` responses; the others wait in a FIFO queue."""

    def __init__(self, max_concurrency: int | None) -> None:
        self._max_concurrency = max_concurrency
        self._waiting: deque[Callable[[], None]] = deque()
        self.num_running = 0
        self.ttft = _Histogram()
        self.queue_time = _Histogram()

    def enter(self, start: Callable[[], None]) -> None:
        """Call ``start`` now or once there is a free slot; `leave` must follow exactly once."""
        if self._max_concurrency is None or self.num_running < self._max_concurrency:
            self.num_running += 1
            start()
        else:
            self._waiting.append(start)

    def leave(self, start: Callable[[], None]) -> None:
        """The request that entered with ``start`` has ended, or no longer waits."""
        if start in self._waiting:
            self._waiting.remove(start)
            return
        self.num_running -= 1
        if self._waiting:
            self.num_running += 1
            self._waiting.popleft()()

    def metrics(self, model: str) -> bytes:
        lines = []
        labels = f'model_name="{model}"'
        for name, kind, value in (
            ("num_requests_running", "gauge", float(self.num_running)),
            ("num_requests_waiting", "gauge", float(len(self._waiting))),
            ("kv_cache_usage_perc", "gauge", self._kv_cache_usage()),
        ):
            lines.append(f"# TYPE vllm:{name} {kind}\nvllm:{name}{{{labels}}} {value}\n")
        lines.append(self.ttft.text("vllm:time_to_first_token_seconds", labels))
        lines.append(self.queue_time.text("vllm:request_queue_time_seconds", labels))
        return "".join(lines).encode()

    def _kv_cache_usage(self) -> float:
        capacity = self._max_concurrency or 100
        return min(self.num_running / capacity, 1.0)


class _Histogram:
    def __init__(self) -> None:
        self._counts = [0] * (len(_EDGES_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_EDGES_S, seconds)] += 1
        self._sum_s += seconds

    def text(self, name: str, labels: str) -> str:
        lines = [f"# TYPE {name} histogram\n"]
        num = 0
        for edge, count in zip((*_EDGES_S, "+Inf"), self._counts, strict=True):
            num += count
            lines.append(f'{name}_bucket{{{labels},le="{edge}"}} {num}\n')
        lines.append(f"{name}_sum{{{labels}}} {self._sum_s}\n{name}_count{{{labels}}} {num}\n")
        return "".join(lines)
