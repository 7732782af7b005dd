import asyncio
import time

import pytest

from headrace.bench.load import event_loop
from headrace.bench.load.client_health import HealthMonitor, reason_if_client_bound
from headrace.bench.records import ClientHealth

HEALTHY = ClientHealth(cpu_share=0.3, loop_lag_p99_s=0.002, send_lag_p99_s=0.001)


def watch(work):
    async def main():
        monitor = HealthMonitor()
        monitor.start()
        await work(monitor)
        return monitor.stop()

    return event_loop.run(main())


def test_an_idle_client_uses_no_cpu():
    async def rest(monitor):
        await asyncio.sleep(1.0)

    assert watch(rest).cpu_share < 0.5


def test_event_loop_delays_are_detected():
    used_s = 0.15

    async def hold_up(monitor):
        await asyncio.sleep(0.02)
        began_s = time.thread_time()
        while time.thread_time() - began_s < used_s:
            pass
        await asyncio.sleep(0.02)

    began_s = time.perf_counter()
    health = watch(hold_up)
    took_s = time.perf_counter() - began_s
    assert health.loop_lag_p99_s > 0.1
    assert health.cpu_share >= used_s / took_s  # its duration depends on the machine


def test_an_event_loop_delay_at_the_end_is_detected():
    async def hold_up(monitor):
        time.sleep(0.1)

    assert watch(hold_up).loop_lag_p99_s > 0.08


def test_send_lag_is_the_99th_percentile():
    async def send(monitor):
        for number in range(1, 201):
            monitor.note_send(number / 1000)

    assert watch(send).send_lag_p99_s == pytest.approx(0.198)


def test_a_fast_client_is_not_the_bottleneck():
    assert reason_if_client_bound(HEALTHY) is None


@pytest.mark.parametrize(
    ("health", "reported"),
    [
        (ClientHealth(0.97, 0.002, 0.001), "97% of its core"),
        (ClientHealth(0.3, 0.08, 0.001), "80 ms late"),
        (ClientHealth(0.3, 0.002, 0.5), "500 ms late"),
    ],
)
def test_a_slow_client_is_the_bottleneck(health, reported):
    assert reported in reason_if_client_bound(health)
