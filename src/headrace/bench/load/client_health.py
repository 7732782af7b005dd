"""Whether the client kept up with its own plan, measured while it works.

A client that is busy itself sends late and sees answers late; what it reports then is its own
slowness. Knows no server and no requests.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.bench.records import ClientHealth

_TICK_S = 0.01
"""Between two looks at the event loop."""


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """What a client may show and still be believed."""

    max_cpu_share: float = 0.9
    """Of one core: asyncio works on one, and near its end queues grow without bound."""
    max_loop_lag_s: float = 0.03
    max_send_lag_s: float = 0.1


class HealthMonitor:
    """Watches the event loop of the thread that starts it, from ``start`` to ``stop``."""

    def __init__(self) -> None:
        self._lags_s: list[float] = []
        self._send_lags_s: list[float] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._began_s = 0.0
        self._began_cpu_s = 0.0

    def start(self) -> None:
        self._began_s = time.perf_counter()
        self._began_cpu_s = time.thread_time()
        self._schedule()

    def note_send(self, lag_s: float) -> None:
        """A request was handed over this late against its planned arrival."""
        self._send_lags_s.append(lag_s)

    def stop(self) -> ClientHealth:
        """What was seen. To be called on the same thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wall_s = time.perf_counter() - self._began_s
        cpu_s = time.thread_time() - self._began_cpu_s
        # A run shorter than one tick, or one that never let the loop go, is one long wait.
        pending_lag_s = max(0.0, time.perf_counter() - self._due_s)
        return ClientHealth(
            cpu_share=min(1.0, cpu_s / wall_s) if wall_s > 0 else 0.0,
            loop_lag_p99_s=_p99([*self._lags_s, pending_lag_s]),
            send_lag_p99_s=_p99(self._send_lags_s),
        )

    def _schedule(self) -> None:
        self._due_s = time.perf_counter() + _TICK_S
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._lags_s.append(max(0.0, time.perf_counter() - self._due_s))
        self._schedule()


def reason_if_client_bound(
    health: ClientHealth, limits: HealthLimits = HealthLimits()
) -> str | None:
    """Why a result of this client is not to be trusted, and what to do; None if it is."""
    if health.cpu_share > limits.max_cpu_share:
        return (
            f"The client used {health.cpu_share:.0%} of its core, so the numbers may be its own. "
            "Lower the load, or run it on a machine of its own."
        )
    if health.loop_lag_p99_s > limits.max_loop_lag_s:
        return (
            f"The client noticed events up to {health.loop_lag_p99_s * 1000:.0f} ms late (p99), "
            f"more than {limits.max_loop_lag_s * 1000:.0f} ms. Give it a core that nothing else "
            "uses, or lower the load."
        )
    if health.send_lag_p99_s > limits.max_send_lag_s:
        return (
            f"The client sent requests up to {health.send_lag_p99_s * 1000:.0f} ms after their "
            f"time (p99), more than {limits.max_send_lag_s * 1000:.0f} ms. Lower the rate, or give "
            "it a core that nothing else uses."
        )
    return None


def _p99(values: Sequence[float]) -> float:
    """Nearest rank: the smallest value that 99 % do not exceed; 0 without values."""
    if not values:
        return 0.0
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]
