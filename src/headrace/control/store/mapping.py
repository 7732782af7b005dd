"""Maps rows to resources, and resources to column values."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from headrace.control.resources import (
    Event,
    Gateway,
    GatewayStatus,
    ProcessHandle,
    Replica,
    ReplicaState,
    Revision,
    RevisionPhase,
    Role,
    Run,
    RunState,
    Service,
    ServiceKey,
    Target,
    Token,
)

Values = dict[str, Any]
"""By column."""


def service_from(row: Row[Any]) -> Service:
    return Service(row.name, row.created_at)


def revision_from(row: Row[Any]) -> Revision:
    return Revision(
        service=row.service,
        number=row.number,
        spec=row.spec,
        phase=RevisionPhase(row.phase),
        num_desired_replicas=row.num_desired_replicas,
        created_at=row.created_at,
    )


def replica_from(row: Row[Any]) -> Replica:
    return Replica(
        replica_id=row.replica_id,
        service=row.service,
        revision=row.revision,
        state=ReplicaState(row.state),
        created_at=row.created_at,
        changed_at=row.changed_at,
        cause=row.cause,
        process=_process_from(row),
        host_ports=_ports_from(row.host_ports),
        log_path=row.log_path,
        gpus=row.gpus or {},
    )


def replica_values(replica: Replica) -> Values:
    return {
        "replica_id": replica.replica_id,
        "service": replica.service,
        "revision": replica.revision,
        "state": replica.state.value,
        "created_at": replica.created_at,
        "changed_at": replica.changed_at,
        "cause": replica.cause,
        **process_values(replica.process),
        "host_ports": ports_value(replica.host_ports),
        "log_path": replica.log_path,
        "gpus": replica.gpus,
    }


def gateway_from(row: Row[Any]) -> Gateway:
    return Gateway(
        service=row.service,
        is_enabled=row.is_enabled,
        targets=_targets_from(row.targets),
        applied_targets=_targets_from(row.applied_targets),
        status=GatewayStatus(row.status),
        message=row.message,
        options=row.options,
        updated_at=row.updated_at,
    )


def gateway_values(gateway: Gateway) -> Values:
    return {
        "service": gateway.service,
        "is_enabled": gateway.is_enabled,
        "targets": _targets_value(gateway.targets),
        "applied_targets": _targets_value(gateway.applied_targets),
        "status": gateway.status.value,
        "message": gateway.message,
        "options": gateway.options,
        "updated_at": gateway.updated_at,
    }


def run_from(row: Row[Any]) -> Run:
    return Run(
        run_id=row.run_id,
        name=row.name,
        spec=row.spec,
        state=RunState(row.state),
        created_at=row.created_at,
        changed_at=row.changed_at,
        cause=row.cause,
        process=_process_from(row),
        host_ports=_ports_from(row.host_ports),
        folder=row.folder,
        exit_code=row.exit_code,
        reproduced_from=row.reproduced_from,
        gpus=row.gpus or {},
    )


def run_values(run: Run) -> Values:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "spec": run.spec,
        "state": run.state.value,
        "created_at": run.created_at,
        "changed_at": run.changed_at,
        "cause": run.cause,
        **process_values(run.process),
        "host_ports": ports_value(run.host_ports),
        "folder": run.folder,
        "exit_code": run.exit_code,
        "reproduced_from": run.reproduced_from,
        "gpus": run.gpus,
    }


def event_from(row: Row[Any]) -> Event:
    return Event(
        at=row.at,
        subject=row.subject,
        what=row.what,
        why=row.why,
        service=row.service,
        run_id=row.run_id,
        event_id=row.event_id,
    )


def event_values(event: Event) -> Values:
    """Without its id, which the database gives."""
    return {
        "at": event.at,
        "subject": event.subject,
        "what": event.what,
        "why": event.why,
        "service": event.service,
        "run_id": event.run_id,
    }


def token_from(row: Row[Any]) -> Token:
    return Token(row.name, Role(row.role), row.created_at)


def service_key_from(row: Row[Any]) -> ServiceKey:
    return ServiceKey(row.service, row.name, row.key_hash, row.prefix, row.created_at)


def process_values(process: ProcessHandle | None) -> Values:
    if process is None:
        return {"pid": None, "process_started_at": None}
    return {"pid": process.pid, "process_started_at": process.started_at}


def ports_value(host_ports: dict[int, int]) -> dict[str, int]:
    """With keys as JSON has them."""
    return {str(port): host_port for port, host_port in host_ports.items()}


def _ports_from(value: dict[str, int]) -> dict[int, int]:
    return {int(port): host_port for port, host_port in value.items()}


def _process_from(row: Row[Any]) -> ProcessHandle | None:
    return None if row.pid is None else ProcessHandle(row.pid, row.process_started_at)


def _targets_value(targets: Iterable[Target]) -> list[dict[str, int]]:
    return [
        {"number": target.number, "port": target.port, "weight": target.weight}
        for target in targets
    ]


def _targets_from(value: Iterable[dict[str, int]]) -> tuple[Target, ...]:
    return tuple(Target(item["number"], item["port"], item["weight"]) for item in value)
