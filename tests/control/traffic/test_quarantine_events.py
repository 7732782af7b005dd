"""What the gateway refuses becomes an event, once."""

import asyncio
from pathlib import Path

from headrace.control.resources import EventReason
from headrace.core.gateway.stats import QuarantinedRequest
from headrace.testing.processes.control_plane import ControlPlane

REQUEST = QuarantinedRequest("svc", "1a2b3c4d5e6f", (1, 2), 3, 600.0)


def told(plane: ControlPlane) -> list[str]:
    return [event for event in plane.events() if f" {EventReason.QUARANTINED}: " in event]


def test_it_is_told_once_for_each_revision_whatever_happens_to_the_control_plane(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with ControlPlane(tmp_path) as plane:
            await plane.run_passes()
            assert told(plane) == []
            plane.gateway.quarantined = (REQUEST,)
            await plane.run_until(lambda: bool(told(plane)))
            first, second = told(plane)
            assert first.startswith(
                f"revision svc/1 {EventReason.QUARANTINED}: A request crashed 3 replicas"
            )
            assert second.startswith(f"revision svc/2 {EventReason.QUARANTINED}: ")
            assert "1a2b3c4d5e6f" in first
            await plane.run_passes()
            await plane.take_over()
            await plane.run_passes()
            assert len(told(plane)) == 2
            # It was tried again, and ended one more.
            plane.gateway.quarantined = (QuarantinedRequest("svc", REQUEST.digest, (1,), 4, 600.0),)
            await plane.run_until(lambda: len(told(plane)) == 3)

    asyncio.run(scenario())


def test_a_service_that_is_gone_has_no_events(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ControlPlane(tmp_path) as plane:
            plane.gateway.quarantined = (QuarantinedRequest("gone", "ab", (1,), 3, 600.0), REQUEST)
            await plane.run_until(lambda: bool(told(plane)))
            assert all("svc" in event for event in told(plane))

    asyncio.run(scenario())
