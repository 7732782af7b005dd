import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from headrace.control.resources import (
    Gateway,
    GatewayStatus,
    Replica,
    ReplicaState,
    ServiceKey,
    Target,
)
from headrace.control.traffic.routing import RouteFile, routed_replicas, service_route
from headrace.core.gateway.routes import Limits, ReplicaRoute, RouteTable, Sticky

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GATEWAY = Gateway(
    "svc",
    True,
    targets=(Target(2, 3000, 100),),
    applied_targets=(Target(1, 3000, 100),),
    status=GatewayStatus.PENDING,
    message="",
    options={},
    updated_at=NOW,
)


def replica(name: str, state: ReplicaState = ReplicaState.READY, revision: int = 1) -> Replica:
    return Replica(name, "svc", revision, state, NOW, NOW, host_ports={3000: 40000 + ord(name)})


def test_applied_targets_are_routed_to_their_ready_replicas_only() -> None:
    replicas = [replica(name) for name in "ba"] + [
        replica("c", ReplicaState.STARTING),
        replica("d", ReplicaState.DRAINING),
        replica("e", revision=2),
    ]
    route = service_route("svc", GATEWAY, replicas, [], {}, {})
    assert route.is_enabled
    [target] = route.targets
    assert (target.revision, target.port, target.weight) == (1, 3000, 100)
    assert not target.scales_from_zero
    assert target.replicas == (
        ReplicaRoute("a", "127.0.0.1", 40097),
        ReplicaRoute("b", "127.0.0.1", 40098),
    )
    assert routed_replicas([route]) == {"a", "b"}


def test_the_order_of_what_the_store_gives_makes_no_difference() -> None:
    keys = [ServiceKey("svc", name, name * 64, name, NOW) for name in "ab"]
    one = service_route("svc", GATEWAY, [replica("a"), replica("b")], keys, {}, {})
    other = service_route("svc", GATEWAY, [replica("b"), replica("a")], keys[::-1], {}, {})
    assert one == other
    assert one.key_hashes == ("a" * 64, "b" * 64)
    assert one.key_names == ("a", "b")


def test_options_and_scaling_from_zero_are_told() -> None:
    gateway = replace(
        GATEWAY,
        options={
            "sticky": {"header": "X-Session"},
            "limits": {"max_queue": 7},
            "forward_key": True,
        },
    )
    route = service_route("svc", gateway, [], [], {1: True}, {})
    assert route.sticky == Sticky(header="X-Session")
    assert route.limits == Limits(max_queue=7)
    assert route.forward_key
    assert not service_route("svc", GATEWAY, [], [], {}, {}).forward_key
    assert route.targets[0].scales_from_zero
    assert route.targets[0].replicas == ()


def test_a_crash_loops_next_start_is_told() -> None:
    until = NOW + timedelta(seconds=42)
    [target] = service_route("svc", GATEWAY, [], [], {}, {1: until, 2: NOW}).targets
    assert target.crash_backoff_until == NOW.timestamp() + 42
    [target] = service_route("svc", GATEWAY, [], [], {}, {2: until}).targets
    assert target.crash_backoff_until is None


@pytest.mark.parametrize("newer", ["writer", "reader"])
def test_either_side_of_the_table_may_be_newer(newer: str) -> None:
    table = RouteTable(1, (service_route("svc", GATEWAY, [replica("a")], [], {}, {1: NOW}),))
    document = msgspec.to_builtins(table)
    [service] = document["services"]
    [target] = service["targets"]
    if newer == "writer":
        service["not_known_yet"] = target["not_known_yet"] = 1
    else:
        del service["forward_key"], target["crash_backoff_until"]
    read = msgspec.convert(document, RouteTable)
    assert read.services[0].targets[0].replicas == table.services[0].targets[0].replicas


def test_a_replica_without_the_targets_port_is_not_routed_to() -> None:
    without = replace(replica("a"), host_ports={9090: 41000})
    assert service_route("svc", GATEWAY, [without], [], {}, {}).targets[0].replicas == ()


def test_a_service_without_a_gateway_is_not_enabled() -> None:
    assert not service_route("svc", None, [replica("a")], [], {}, {}).is_enabled


def test_the_file_is_replaced_whole_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "gateway" / "routes.json"
    file = RouteFile(path)
    assert file.read() is None
    for version in (1, 2):
        table = RouteTable(version, (service_route("svc", GATEWAY, [replica("a")], [], {}, {}),))
        file.write(table)
        assert file.read() == table
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_no_table_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    path.write_text('{"version": ')
    assert RouteFile(path).read() is None
