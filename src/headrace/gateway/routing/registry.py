"""The services and replicas there are: those of the route table, and those not done yet.

Knows who may be forgotten when; decides nothing about requests.
"""

from __future__ import annotations

from headrace.core.routes import RouteTable, ServiceRoute, TargetRoute
from headrace.gateway.routing.decisions import ServiceMatch
from headrace.gateway.routing.replica import Replica
from headrace.gateway.routing.target_state import TargetState
from headrace.gateway.routing.topology import ServiceState

ReplicaKey = tuple[str, str, int]
"""Id, host and port: a replica that comes back elsewhere is another one."""


class Registry:
    """Follows one route table at a time."""

    def __init__(self) -> None:
        self.services: dict[str, ServiceState] = {}
        """By name: those in the route table, and those that still have requests."""
        self.replicas: dict[ReplicaKey, Replica] = {}
        """Those in the route table, and those that still have requests."""
        self._by_label: dict[bytes, ServiceState] = {}

    def replace_table(self, table: RouteTable, unix_offset_s: float) -> list[ServiceState]:
        """Follow this table; replicas that stay keep their counts. The services that were in the
        table before or are in it now come back. ``unix_offset_s``: what to add to Unix time."""
        before = {name: state for name, state in self.services.items() if state.is_listed}
        for replica in self.replicas.values():
            replica.is_routed = False
        for route in table.services:
            before.pop(route.name, None)
            self._follow_service(route, unix_offset_s)
        for service in before.values():
            service.leave()
        for replica in [replica for replica in self.replicas.values() if not replica.is_routed]:
            if replica.losses:  # it may have left because it is dead
                replica.is_verdict_due = True
            self.forget_if_idle(replica)
        for service in list(self.services.values()):
            self.forget_service_if_idle(service)
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

    def forget_if_idle(self, replica: Replica) -> None:
        key = (replica.replica_id, replica.host, replica.port)
        if replica.num_outstanding or replica.is_verdict_due:
            return
        if self.replicas.get(key) is replica:
            del self.replicas[key]

    def forget_service_if_idle(self, service: ServiceState) -> None:
        """Unless it is in the table."""
        if service.is_listed or service.num_outstanding or service.num_waiting:
            return
        if self.services.get(service.name) is service:
            del self.services[service.name]

    def _follow_service(self, route: ServiceRoute, unix_offset_s: float) -> None:
        service = self.services.get(route.name)
        if service is None:
            service = self.services[route.name] = ServiceState(route.name)
        service.follow(route)
        for target, target_route in zip(service.targets, route.targets, strict=True):
            until = target_route.crash_backoff_until
            target.backoff_until = None if until is None else until + unix_offset_s
            self._follow_replicas(target, target_route)

    def _follow_replicas(self, target: TargetState, route: TargetRoute) -> None:
        target.replicas = []
        for listed in route.replicas:
            key = (listed.replica_id, listed.host, listed.port)
            replica = self.replicas.get(key)
            if replica is None or replica.target.service is not target.service:
                replica = Replica(listed.replica_id, listed.host, listed.port, target)
                self.replicas[key] = replica
            replica.target = target
            replica.is_routed = True
            target.replicas.append(replica)
