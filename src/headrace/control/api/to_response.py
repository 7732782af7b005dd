"""Converts resources to the API's responses."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import asdict

from headrace.control.api.responses import (
    EventView,
    GatewayView,
    GpuView,
    HistoryView,
    KeyView,
    PortView,
    ReplicaView,
    RequestTimelineView,
    RequestView,
    RevisionHistoryView,
    RevisionView,
    RunView,
    ServiceView,
    TargetView,
    TokenView,
    UsageView,
)
from headrace.control.devices.gpus import Gpu
from headrace.control.history.current import CurrentMetrics
from headrace.control.launchers.commands import command_of
from headrace.control.launchers.planning import notes_on_launch, where_it_runs
from headrace.control.manifests.fields.env import masked_env
from headrace.control.manifests.fields.workload import PortSpec
from headrace.control.manifests.parsing.manifest_model import ModelT, notes_on, read_stored
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec
from headrace.control.operations.history import ServiceHistory
from headrace.control.replicas.revision_status import revision_status
from headrace.control.resources import (
    Event,
    Gateway,
    GatewayStatus,
    Replica,
    ReplicaState,
    Revision,
    Run,
    Service,
    ServiceKey,
    Target,
    Token,
)
from headrace.control.store.usage_queries import UsageRow
from headrace.core.errors import HeadraceError
from headrace.core.gateway.request_records import RequestRecord, timeline


class ResponseBuilder:
    """Converts resources, with the platform's gateway address, launcher, GPUs and metrics."""

    def __init__(
        self,
        *,
        gateway_url: str,
        uses_containers: bool,
        gpus: Sequence[Gpu] = (),
        current: CurrentMetrics | None = None,
    ) -> None:
        self._current = current or CurrentMetrics()
        self._gateway_url = gateway_url.rstrip("/")
        self._uses_containers = uses_containers
        self._gpu_indexes = {gpu.uuid: gpu.index for gpu in gpus}

    def service(self, service: Service, gateway: Gateway | None, num_revisions: int) -> ServiceView:
        return ServiceView(
            name=service.name,
            created_at=service.created_at,
            num_revisions=num_revisions,
            gateway=self.gateway(service.name, gateway),
        )

    def gateway(self, service: str, gateway: Gateway | None) -> GatewayView:
        """``gateway`` None: a service without one is shown as disabled."""
        if gateway is None:
            return GatewayView(
                service=service,
                enabled=False,
                status=GatewayStatus.SUCCESS,
                message="",
                endpoint=None,
                path_endpoint=None,
                targets=[],
                applied_targets=[],
                options={},
                updated_at=None,
            )
        scheme, _, address = self._gateway_url.partition("://")
        host, _, port = address.rpartition(":")
        # NAME.localhost resolves to this machine; names below other hosts usually do not resolve.
        endpoint = f"{scheme}://{service}.localhost:{port}" if host == "localhost" else None
        path_endpoint = f"{self._gateway_url}/{service}"
        return GatewayView(
            service=service,
            enabled=gateway.is_enabled,
            status=gateway.status,
            message=gateway.message,
            endpoint=(endpoint or path_endpoint) if gateway.is_enabled else None,
            path_endpoint=path_endpoint if gateway.is_enabled else None,
            targets=_targets(gateway.targets),
            applied_targets=_targets(gateway.applied_targets),
            options=gateway.options,
            updated_at=gateway.updated_at,
        )

    def revision(self, revision: Revision, replicas: Sequence[Replica]) -> RevisionView:
        """``replicas``: those that `revision_status` needs."""
        spec, problems = _readable(RevisionSpec, revision.spec)
        status = revision_status(revision, replicas)
        live = [replica for replica in replicas if not replica.is_gone]
        return RevisionView(
            service=revision.service,
            number=revision.number,
            status=status.status,
            cause=status.cause,
            message=spec.message,
            created_at=revision.created_at,
            num_desired_replicas=revision.num_desired_replicas,
            num_ready_replicas=sum(one.state is ReplicaState.READY for one in live),
            replicas=[self.replica(replica, spec) for replica in live],
            command=command_of(spec),
            runs_in=where_it_runs(spec, uses_containers=self._uses_containers),
            ports=_ports(spec.ports, {}),
            spec=_shown_spec(spec),
            notes=[*problems, *self._notes(spec)],
        )

    def replicas(
        self, replicas: Sequence[Replica], revisions: Iterable[Revision]
    ) -> list[ReplicaView]:
        """``revisions``: the revisions of these replicas."""
        specs = {one.number: _readable(RevisionSpec, one.spec)[0] for one in revisions}
        return [self.replica(replica, specs[replica.revision]) for replica in replicas]

    def replica(self, replica: Replica, spec: RevisionSpec) -> ReplicaView:
        load = self._current.replica(replica.replica_id)
        return ReplicaView(
            replica_id=replica.replica_id,
            service=replica.service,
            revision=replica.revision,
            state=replica.state,
            cause=replica.cause,
            pid=None if replica.process is None else replica.process.pid,
            ports=_ports(spec.ports, replica.host_ports),
            gpus=self._gpus(replica.gpus),
            memory_bytes=load.num_bytes,
            cpu_cores=load.num_busy_cores,
            kv_cache_usage=load.kv_cache_usage,
            num_running=load.num_running,
            num_waiting=load.num_waiting,
            created_at=replica.created_at,
            changed_at=replica.changed_at,
            log_path=replica.log_path,
        )

    def run(self, run: Run) -> RunView:
        spec, problems = _readable(RunSpec, run.spec)
        return RunView(
            run_id=run.run_id,
            name=run.name,
            description=spec.description or spec.message,
            tags=list(spec.tags),
            type="interactive" if spec.interactive is not None else "batch",
            state=run.state,
            cause=run.cause,
            created_at=run.created_at,
            changed_at=run.changed_at,
            exit_code=run.exit_code,
            ports=_ports(spec.ports, run.host_ports),
            pid=None if run.process is None else run.process.pid,
            gpus=self._gpus(run.gpus),
            folder=run.folder,
            reproduced_from=run.reproduced_from,
            command=command_of(spec),
            runs_in=where_it_runs(spec, uses_containers=self._uses_containers),
            spec=_shown_spec(spec),
            notes=[*problems, *self._notes(spec)],
        )

    def _gpus(self, shares: Mapping[str, float]) -> list[GpuView]:
        return [
            GpuView(uuid=uuid, index=self._gpu_indexes.get(uuid), share=share)
            for uuid, share in shares.items()
        ]

    def _notes(self, spec: RevisionSpec | RunSpec) -> list[str]:
        on_resources = notes_on_launch(
            spec, uses_containers=self._uses_containers, num_gpus=len(self._gpu_indexes)
        )
        return [*notes_on(spec), *on_resources]


def view_event(event: Event) -> EventView:
    return EventView(
        event_id=event.event_id or 0,
        at=event.at,
        subject=event.subject,
        what=event.what,
        why=event.why,
    )


def view_history(history: ServiceHistory) -> HistoryView:
    return HistoryView(
        service=history.service,
        period=history.period,
        step_s=history.window.step_s,
        times=history.window.times(),
        revisions=[
            RevisionHistoryView.model_validate({"number": number, **series})
            for number, series in history.revisions.items()
        ],
    )


def view_usage(row: UsageRow) -> UsageView:
    return UsageView.model_validate({**row.group, **asdict(row.counts)})


def view_request(record: RequestRecord) -> RequestView:
    return RequestView.model_validate(_request_fields(record))


def view_request_timeline(record: RequestRecord) -> RequestTimelineView:
    phases = [asdict(phase) for phase in timeline(record)]
    return RequestTimelineView.model_validate({**_request_fields(record), "timeline": phases})


def view_key(key: ServiceKey) -> KeyView:
    return KeyView(service=key.service, name=key.name, prefix=key.prefix, created_at=key.created_at)


def view_token(token: Token) -> TokenView:
    return TokenView(name=token.name, role=token.role, created_at=token.created_at)


def _request_fields(record: RequestRecord) -> dict[str, Any]:
    return {
        **asdict(record),
        "arrived_at": datetime.fromtimestamp(record.arrived_at, UTC),
        "num_retries": record.num_retries,
        "attempts": [asdict(attempt) for attempt in record.attempts],
    }


def _targets(targets: Iterable[Target]) -> list[TargetView]:
    return [
        TargetView(number=target.number, port=target.port, weight=target.weight)
        for target in targets
    ]


def _ports(ports: Iterable[PortSpec], host_ports: Mapping[int, int]) -> list[PortView]:
    return [
        PortView(
            name=port.name, port=port.port, type=port.type, host_port=host_ports.get(port.port)
        )
        for port in ports
    ]


def _readable(model: type[ModelT], stored: Mapping[str, Any]) -> tuple[ModelT, list[str]]:
    """The spec; an empty one and the reason if another version of Headrace wrote it."""
    try:
        return read_stored(model, stored), []
    except HeadraceError as error:
        return model.model_construct(), [str(error)]


def _shown_spec(spec: RevisionSpec | RunSpec) -> dict[str, object]:
    """With masked values of secrets, and of variables whose names suggest one."""
    return {**spec.model_dump(mode="json"), "env": masked_env(spec.env)}
