"""Decides which revisions get traffic. Pure.

Traffic moves to the requested targets once they are ready; until then it is unchanged, so that a
bad revision fails no request.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.control.resources import Gateway, GatewayStatus, RevisionPhase, Target


@dataclass(frozen=True, slots=True)
class RevisionReadiness:
    """The state of one revision that the rollout depends on."""

    phase: RevisionPhase
    num_ready: int
    scales_from_zero: bool = False
    """It may have no replica; its requests wait until one is ready."""
    crash_cause: str | None = None
    """Cause of the last crash, while it crash-loops."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The new applied targets, with the gateway's status and message."""

    applied_targets: tuple[Target, ...]
    status: GatewayStatus
    message: str


def apply_targets(gateway: Gateway, revisions: Mapping[int, RevisionReadiness]) -> Rollout:
    """Apply the requested targets if they are ready.

    1. A target that has traffic already needs no check.
    2. Each new target with a share needs a ready replica, or scales from zero.
    3. If no applied target is left, the requested ones are applied at once, and requests are queued
       until a replica is ready.
    """
    asked = without_gone(gateway.targets, revisions)
    applied = without_gone(gateway.applied_targets, revisions)
    if not gateway.is_enabled or not asked:
        return Rollout(asked, GatewayStatus.SUCCESS, "")

    has_traffic = {(target.number, target.port) for target in applied if target.weight > 0}
    unready = [target for target in asked if _lacks_replica(target, revisions)]
    new = [target for target in unready if (target.number, target.port) not in has_traffic]
    if not new or not has_traffic:
        return _rollout(asked, unready, revisions, "Requests are queued")
    return _rollout(applied, new, revisions, "Traffic is unchanged")


def without_gone(
    targets: tuple[Target, ...], revisions: Mapping[int, RevisionReadiness]
) -> tuple[Target, ...]:
    """The targets whose revision is active; the others' shares go to them in proportion."""
    kept = [target for target in targets if _is_active(target, revisions)]
    if len(kept) == len(targets):
        return targets
    weights = rescale([target.weight for target in kept])
    return tuple(
        Target(target.number, target.port, weight)
        for target, weight in zip(kept, weights, strict=True)
    )


def rescale(weights: list[int]) -> list[int]:
    """The same proportions with a sum of 100, by the largest remainder method; all 0 stay 0."""
    total = sum(weights)
    if total == 0:
        return weights
    floors = [weight * 100 // total for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda index: (-(weights[index] * 100 % total), index)
    )
    for index in by_remainder[: 100 - sum(floors)]:
        floors[index] += 1
    return floors


def _rollout(
    targets: tuple[Target, ...],
    waited_for: list[Target],
    revisions: Mapping[int, RevisionReadiness],
    effect: str,
) -> Rollout:
    if not waited_for:
        return Rollout(targets, GatewayStatus.SUCCESS, "")
    for target in waited_for:
        readiness = revisions.get(target.number)
        cause = None if readiness is None else readiness.crash_cause
        if cause is not None:
            message = f"{effect}: revision {target.number} crash-loops. Last crash: {cause}"
            return Rollout(targets, GatewayStatus.FAILED, message)
    numbers = sorted({target.number for target in waited_for})
    named = " and ".join(str(number) for number in numbers)
    subject = f"revision {named} is" if len(numbers) == 1 else f"revisions {named} are"
    return Rollout(targets, GatewayStatus.PENDING, f"{effect} until {subject} ready.")


def _lacks_replica(target: Target, revisions: Mapping[int, RevisionReadiness]) -> bool:
    if target.weight == 0:
        return False
    readiness = revisions.get(target.number)
    if readiness is None:
        return True
    may_come = readiness.scales_from_zero and readiness.crash_cause is None
    return readiness.num_ready == 0 and not may_come


def _is_active(target: Target, revisions: Mapping[int, RevisionReadiness]) -> bool:
    readiness = revisions.get(target.number)
    return readiness is not None and readiness.phase is RevisionPhase.ACTIVE
