"""The services and replicas of the route table, and those that left it and still have requests."""

from __future__ import annotations

from headrace.core.gateway.routes import RouteTable, ServiceRoute, TargetRoute
from headrace.gateway.routing.decisions import ServiceMatch
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState, TargetState

ReplicaKey = tuple[str, str, int]
"""Id, host and port: a replica with another address is another one."""


class Registry:
    """Applies one route table at a time."""

    def __init__(self) -> None:
        self.services: dict[str, ServiceState] = {}
        """By name: those in the route table, and those that still have requests."""
        self.replicas: dict[ReplicaKey, ReplicaEndpoint] = {}
        """Those in the route table, and those that still have requests."""
        self._by_label: dict[bytes, ServiceState] = {}

    def replace_table(self, table: RouteTable, unix_offset_s: float) -> list[ServiceState]:
        """Apply this table; replicas that stay keep their counters. Returns the services that were
        in the table before or are in it now. ``unix_offset_s``: added to Unix time gives the
        monotonic time."""
        before = {name: state for name, state in self.services.items() if state.is_listed}
        for replica in self.replicas.values():
            replica.is_routed = False
        for route in table.services:
            before.pop(route.name, None)
            self._update_service(route, unix_offset_s)
        for service in before.values():
            service.remove()
        for replica in [replica for replica in self.replicas.values() if not replica.is_routed]:
            if replica.losses:  # it may have left the table because it is dead
                replica.needs_probe = True
            self.remove_if_idle(replica)
        for service in list(self.services.values()):
            self.remove_service_if_idle(service)
        listed = [service for service in self.services.values() if service.is_listed]
        self._by_label = {service.name.lower().encode(): service for service in listed}
        return [*listed, *before.values()]

    def find_service(self, host: bytes | None, path: bytes) -> ServiceMatch | None:
        """By the first label of the host, or else by the first segment of the path."""
        by_label = self._by_label
        if host is not None:
            label = host.partition(b":")[0].partition(b".")[0].lower()
            service = by_label.get(label)
            if service is not None and not label.isdigit():  # digits: an address, not a name
                return ServiceMatch(service, path)
        end = path.find(b"/", 1)
        query = path.find(b"?", 1, end if end > 0 else len(path))
        if query > 0:
            service = by_label.get(path[1:query].lower())
            if service is None:
                return None
            return ServiceMatch(service, b"/" + path[query:], path[:query])
        segment = path[1:] if end < 0 else path[1:end]
        service = by_label.get(segment.lower())
        if service is None:
            return None
        if end < 0:
            return ServiceMatch(service, b"/", path)
        return ServiceMatch(service, path[end:], path[:end])

    def remove_if_idle(self, replica: ReplicaEndpoint) -> None:
        """It is not in the table; remove it unless it has requests or is to be probed."""
        key = (replica.replica_id, replica.host, replica.port)
        if replica.num_outstanding or replica.needs_probe:
            return
        if self.replicas.get(key) is replica:
            del self.replicas[key]

    def remove_service_if_idle(self, service: ServiceState) -> None:
        """Unless it is in the table or has requests."""
        if service.is_listed or service.num_outstanding or service.num_waiting:
            return
        if self.services.get(service.name) is service:
            del self.services[service.name]

    def _update_service(self, route: ServiceRoute, unix_offset_s: float) -> None:
        service = self.services.get(route.name)
        if service is None:
            service = self.services[route.name] = ServiceState(route.name)
        service.update(route)
        for target, target_route in zip(service.targets, route.targets, strict=True):
            until = target_route.crash_backoff_until
            target.backoff_until = None if until is None else until + unix_offset_s
            self._update_replicas(target, target_route)

    def _update_replicas(self, target: TargetState, route: TargetRoute) -> None:
        target.replicas = []
        for listed in route.replicas:
            key = (listed.replica_id, listed.host, listed.port)
            replica = self.replicas.get(key)
            if replica is None or replica.target.service is not target.service:
                replica = ReplicaEndpoint(listed.replica_id, listed.host, listed.port, target)
                self.replicas[key] = replica
            replica.target = target
            replica.is_routed = True
            target.replicas.append(replica)
