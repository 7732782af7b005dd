"""Measures whether the client keeps up. A busy client sends late and notices responses late."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.bench.records import ClientHealth

_TICK_S = 0.01
"""Interval of the timer that measures the event loop's delay."""


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """Limits above which the client may be the bottleneck."""

    max_cpu_share: float = 0.9
    """Of one core, as asyncio runs on one thread; near 1, queues grow without bound."""
    max_loop_lag_s: float = 0.03
    max_send_lag_s: float = 0.1


class HealthMonitor:
    """Monitors the event loop of its thread from ``start`` to ``stop``."""

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
        """Record how much later than scheduled a request was sent."""
        self._send_lags_s.append(lag_s)

    def stop(self) -> ClientHealth:
        """Call it on the thread that called ``start``."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wall_s = time.perf_counter() - self._began_s
        cpu_s = time.thread_time() - self._began_cpu_s
        # Covers runs shorter than one tick, and ones that blocked the loop throughout.
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
    """Why the client may have been the bottleneck, and what to do; None if it was not."""
    if health.cpu_share > limits.max_cpu_share:
        return (
            f"The client used {health.cpu_share:.0%} of its core and may have been the bottleneck. "
            "Lower the load, or run the client on another machine."
        )
    if health.loop_lag_p99_s > limits.max_loop_lag_s:
        return (
            f"The client's event loop was up to {health.loop_lag_p99_s * 1000:.0f} ms late (p99), "
            f"more than {limits.max_loop_lag_s * 1000:.0f} ms. Give the client a dedicated "
            "core, or lower the load."
        )
    if health.send_lag_p99_s > limits.max_send_lag_s:
        return (
            f"The client sent requests up to {health.send_lag_p99_s * 1000:.0f} ms late "
            f"(p99), more than {limits.max_send_lag_s * 1000:.0f} ms. Lower the rate, or give "
            "the client a dedicated core."
        )
    return None


def _p99(values: Sequence[float]) -> float:
    """Nearest rank: the smallest value that 99 % do not exceed; 0 without values."""
    if not values:
        return 0.0
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]
