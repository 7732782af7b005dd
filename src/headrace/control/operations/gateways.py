"""Gateways: the requested targets of a service's traffic. The control loop applies them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from headrace.control.manifests.gateway import (
    GatewaySpec,
    TargetSpec,
    options_manifest,
    parse_gateway,
    route_limits,
    route_sticky,
)
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.parsing.problems import ManifestError, Problem
from headrace.control.manifests.parsing.validate import ManifestDocument
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.operations.finding import find_service
from headrace.control.resources import (
    Event,
    EventReason,
    Gateway,
    GatewayStatus,
    RevisionPhase,
    Target,
)
from headrace.control.store.queries import Queries
from headrace.control.store.store import Store
from headrace.core.gateway.routes import Limits

CHANGE_REQUESTED = "Applying the change."
"""Message of a gateway until the control loop has processed its last update."""


def update_gateway(store: Store, service: str, text: str, file: str, now: datetime) -> Gateway:
    """Replace the gateway's configuration. Traffic is unchanged until the targets are ready."""
    manifest = parse_gateway(text, file)
    spec = manifest.spec
    with store.begin() as tx:
        find_service(tx, service)
        targets = _resolve(tx, service, manifest)
        earlier = tx.gateway(service)
        gateway = Gateway(
            service=service,
            is_enabled=spec.enabled,
            targets=targets,
            applied_targets=() if earlier is None else earlier.applied_targets,
            status=GatewayStatus.PENDING,
            message=CHANGE_REQUESTED,
            options=_options(spec),
            updated_at=now,
        )
        tx.save_gateway(gateway)
        why = f"From {file}: {_summary(gateway)}."
        what = EventReason.UPDATED
        tx.add_event(Event(now, f"gateway {service}", what, why, service=service))
    return gateway


def check_gateway(store: Store, service: str, text: str, file: str) -> tuple[Target, ...]:
    """What `update_gateway` checks; nothing is changed. Returns the requested targets."""
    manifest = parse_gateway(text, file)
    with store.read() as queries:
        find_service(queries, service)
        return _resolve(queries, service, manifest)


def gateway_manifest(gateway: Gateway) -> dict[str, Any]:
    """The manifest that `update_gateway` would turn into this gateway."""
    manifest: dict[str, Any] = {
        "enabled": gateway.is_enabled,
        "targets": [
            {"number": target.number, "port": target.port, "weight": target.weight}
            for target in gateway.targets
        ],
    }
    return {**manifest, **options_manifest(gateway.options)}


def read_gateway(store: Store, service: str) -> Gateway | None:
    """None if it was never configured."""
    with store.read() as queries:
        find_service(queries, service)
        return queries.gateway(service)


def _resolve(
    queries: Queries, service: str, manifest: ManifestDocument[GatewaySpec]
) -> tuple[Target, ...]:
    """The targets with port numbers. Raises ManifestError with every problem."""
    problems: list[Problem] = []
    targets: list[Target] = []
    for index, target in enumerate(manifest.spec.targets):
        found = _resolve_one(queries, service, target)
        if isinstance(found, _Reason):
            problems.append(manifest.problem(("targets", index, found.key), found.text))
            continue
        for other in targets:
            if (other.number, other.port) == (found.number, found.port):
                reason = f"duplicates the target port {found.port} of revision {found.number}"
                problems.append(manifest.problem(("targets", index, "port"), reason))
        targets.append(found)
    if problems:
        raise ManifestError(problems)
    return tuple(targets)


class _Reason(msgspec.Struct, frozen=True):
    """Why a target is invalid."""

    key: str
    """The invalid key of the target."""
    text: str


def _resolve_one(queries: Queries, service: str, target: TargetSpec) -> Target | _Reason:
    revision = queries.revision(service, target.number)
    if revision is None:
        existing = ", ".join(_active_numbers(queries, service))
        hint = f"; it has {existing}" if existing else "; create one first"
        return _Reason("number", f"service '{service}' has no revision {target.number}{hint}")
    if revision.phase is not RevisionPhase.ACTIVE:
        return _Reason("number", f"revision {target.number} is {revision.phase}")
    spec = read_stored(RevisionSpec, revision.spec)
    port = spec.find_port(spec.exposed_port if target.port is None else target.port)
    if port is None:
        known = ", ".join(
            f"{port.port} ({port.name})" if port.name else str(port.port) for port in spec.ports
        )
        return _Reason(
            "port", f"revision {target.number} has no port {target.port}; it has {known}"
        )
    if port.type != "http":
        return _Reason("port", f"port {port.port} of revision {target.number} is not an HTTP port")
    return Target(target.number, port.port, target.weight)


def _active_numbers(queries: Queries, service: str) -> Iterator[str]:
    for revision in queries.revisions(service, live_only=True):
        if revision.phase is RevisionPhase.ACTIVE:
            yield str(revision.number)


def _options(spec: GatewaySpec) -> dict[str, Any]:
    """In the route table's format, without defaults."""
    options: dict[str, Any] = {}
    sticky = route_sticky(spec.sticky)
    if sticky is not None:
        options["sticky"] = msgspec.to_builtins(sticky)
    limits = msgspec.to_builtins(route_limits(spec.limits))
    defaults = msgspec.to_builtins(Limits())
    given = {name: value for name, value in limits.items() if value != defaults[name]}
    if given:
        options["limits"] = given
    if spec.forward_key:
        options["forward_key"] = True
    return options


def _summary(gateway: Gateway) -> str:
    if not gateway.is_enabled:
        return "disabled"
    return ", ".join(
        f"{target.weight}% to revision {target.number} (port {target.port})"
        for target in gateway.targets
    )
