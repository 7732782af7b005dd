"""Revisions: created from a manifest, and terminated."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from headrace.control.errors import ConflictError
from headrace.control.manifests.revision import RevisionSpec, parse_revision
from headrace.control.operations import BY_API
from headrace.control.operations.finding import find_revision, find_service
from headrace.control.operations.secrets import check_secrets
from headrace.control.replicas.revision_status import NUM_LAST_GONE
from headrace.control.resources import (
    Event,
    EventReason,
    Gateway,
    GatewayStatus,
    Replica,
    Revision,
    RevisionPhase,
    Target,
)
from headrace.control.store.queries import Queries
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction
from headrace.control.traffic.rollout import rescale


@dataclass(frozen=True, slots=True)
class Terminated:
    """The result of terminating a revision."""

    revision: Revision
    gateway: Gateway | None
    note: str
    """Where its share of the traffic goes; empty if it had none."""


def create_revision(
    store: Store,
    service: str,
    text: str,
    file: str,
    now: datetime,
    *,
    folder: Path | None = None,
) -> Revision:
    """``file`` names the text in errors; its relative paths begin at ``folder``."""
    manifest = parse_revision(text, file, folder)
    spec = manifest.spec
    with store.begin() as tx:
        find_service(tx, service)
        check_secrets(tx, manifest, spec.env)
        # Start one replica even if min is 0, to verify that it starts; it scales to zero later.
        num_desired = max(spec.autoscaling.min, 1)
        revision = tx.add_revision(service, spec.model_dump(mode="json"), num_desired, now)
        tx.add_event(_event(service, revision.number, EventReason.CREATED, f"From {file}.", now))
    return revision


def list_revisions(store: Store, service: str) -> list[Revision]:
    """By number."""
    with store.read() as queries:
        find_service(queries, service)
        return queries.revisions(service)


def read_revision(store: Store, service: str, number: int) -> Revision:
    with store.read() as queries:
        return find_revision(queries, service, number)


def status_replicas(
    queries: Queries, service: str, revisions: Iterable[Revision]
) -> dict[int, list[Replica]]:
    """By number the replicas that `revision_status` needs, with a constant number of queries."""
    return queries.status_replicas(service, revisions, NUM_LAST_GONE)


def check_revision(store: Store, service: str, text: str, file: str) -> RevisionSpec:
    """What `create_revision` checks; nothing is changed."""
    manifest = parse_revision(text, file)
    with store.read() as queries:
        find_service(queries, service)
        check_secrets(queries, manifest, manifest.spec.env)
    return manifest.spec


def terminate_revision(store: Store, service: str, number: int, now: datetime) -> Terminated:
    """Its share of the traffic goes to the other targets, in proportion to theirs."""
    with store.begin() as tx:
        revision = find_revision(tx, service, number)
        if revision.phase is not RevisionPhase.ACTIVE:
            state = (
                "already terminated"
                if revision.phase is RevisionPhase.TERMINATED
                else "already terminating"
            )
            raise ConflictError(f"Revision {number} of service '{service}' is {state}.")
        tx.set_phase(service, number, RevisionPhase.TERMINATING)
        tx.add_event(_event(service, number, EventReason.TERMINATING, BY_API, now))
        gateway = tx.gateway(service)
        note = ""
        if gateway is not None and any(target.number == number for target in gateway.targets):
            gateway, note = _without(tx, gateway, number, now)
    return Terminated(replace(revision, phase=RevisionPhase.TERMINATING), gateway, note)


def without_target(targets: Iterable[Target], number: int) -> tuple[Target, ...]:
    """The others, with weights that sum to 100: in proportion, or equal if all are 0."""
    kept = [target for target in targets if target.number != number]
    weights = [target.weight for target in kept]
    shares = rescale(weights if sum(weights) > 0 else [1] * len(kept))
    return tuple(
        replace(target, weight=weight) for target, weight in zip(kept, shares, strict=True)
    )


def _without(tx: Transaction, gateway: Gateway, number: int, now: datetime) -> tuple[Gateway, str]:
    targets = without_target(gateway.targets, number)
    gateway = replace(
        gateway,
        targets=targets,
        status=GatewayStatus.PENDING,
        message=f"Removing revision {number}.",
        updated_at=now,
    )
    note = _note(gateway, number)
    tx.save_gateway(gateway)
    subject, service = f"gateway {gateway.service}", gateway.service
    tx.add_event(Event(now, subject, EventReason.UPDATED, note, service=service))
    return gateway, note


def _note(gateway: Gateway, number: int) -> str:
    if not gateway.targets:
        if not gateway.is_enabled:
            return f"Revision {number} was the gateway's last target."
        return (
            f"Revision {number} was the gateway's last target. The endpoint returns 503 until "
            f"you set another: headrace gateway update --service {gateway.service} -f FILE"
        )
    shares = ", ".join(f"revision {target.number} {target.weight}%" for target in gateway.targets)
    return f"Traffic of revision {number} moves to the other targets: {shares}."


def _event(service: str, number: int, what: EventReason, why: str, now: datetime) -> Event:
    return Event(now, f"revision {service}/{number}", what, why, service=service)
