"""A gateway is asked for as a whole, and only what can be had is accepted."""

from datetime import UTC, datetime

import pytest
import yaml

from headrace.control.errors import NotFoundError
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.operations.gateways import (
    check_gateway,
    gateway_manifest,
    read_gateway,
    update_gateway,
)
from headrace.control.operations.revisions import create_revision, terminate_revision
from headrace.control.operations.services import create_service
from headrace.control.resources import GatewayStatus, Target
from headrace.control.store.store import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)

REVISION = """\
message: first
run: serve
ports:
- {port: 3000, name: openllm, type: http}
- {port: 9090, name: prometheus}
- {port: 5000, name: raw, type: tcp}
"""


@pytest.fixture
def service(store: Store) -> Store:
    create_service(store, "openllm", NOW)
    for _ in range(2):
        create_revision(store, "openllm", REVISION, "v.yaml", NOW)
    return store


def gateway_of(*targets: str, more: str = "") -> str:
    lines = "".join(f"- {{{target}}}\n" for target in targets)
    return f"enabled: true\ntargets:\n{lines}{more}"


def test_what_is_asked_for_is_written_down(service: Store) -> None:
    text = gateway_of("number: 1, port: 3000, weight: 50", "number: 2, port: openllm, weight: 50")
    gateway = update_gateway(service, "openllm", text, "gateway-v2.yaml", NOW)
    assert gateway.is_enabled
    assert gateway.targets == (Target(1, 3000, 50), Target(2, 3000, 50))
    assert gateway.applied_targets == ()
    assert gateway.status is GatewayStatus.PENDING
    assert gateway.options == {}
    assert read_gateway(service, "openllm") == gateway
    with service.read() as queries:
        event = queries.events(service="openllm")[-1]
    assert event.subject == "gateway openllm"
    assert "gateway-v2.yaml" in event.why
    assert "50% to revision 2 (port 3000)" in event.why


def test_a_check_changes_nothing(service: Store) -> None:
    text = gateway_of("number: 1, weight: 100")
    assert check_gateway(service, "openllm", text, "g.yaml") == (Target(1, 3000, 100),)
    with pytest.raises(ManifestError, match="has no revision 7"):
        check_gateway(service, "openllm", gateway_of("number: 7, weight: 100"), "g.yaml")
    assert read_gateway(service, "openllm") is None


@pytest.mark.parametrize(
    "more",
    [
        "",
        "sticky: user\n",
        "sticky: {header: x-session}\nforward_key: true\n",
        "limits: {request_timeout: 1m30s, idle_timeout: 20, max_body: 1MiB}\n",
        "limits: {max_concurrency: 4, max_queue: 0, queue_timeout: 500ms}\n",
    ],
)
def test_a_gateway_is_shown_as_the_manifest_that_makes_it(service: Store, more: str) -> None:
    text = gateway_of("number: 1, weight: 30", "number: 2, weight: 70", more=more)
    gateway = update_gateway(service, "openllm", text, "g.yaml", NOW)
    shown = yaml.safe_dump(gateway_manifest(gateway))
    again = update_gateway(service, "openllm", shown, "g.yaml", NOW)
    assert again == gateway


def test_without_a_port_it_is_the_exposed_one(service: Store) -> None:
    text = gateway_of("number: 1, weight: 100")
    assert update_gateway(service, "openllm", text, "g.yaml", NOW).targets[0].port == 3000


def test_traffic_stays_until_the_controller_moves_it(service: Store) -> None:
    first = gateway_of("number: 1, weight: 100")
    gateway = update_gateway(service, "openllm", first, "g.yaml", NOW)
    applied = (Target(1, 3000, 100),)
    with service.begin() as tx:
        tx.save_gateway(type(gateway)(**{**_fields(gateway), "applied_targets": applied}))
    second = gateway_of("number: 2, weight: 100")
    assert update_gateway(service, "openllm", second, "g.yaml", NOW).applied_targets == applied


def _fields(gateway: object) -> dict[str, object]:
    return {name: getattr(gateway, name) for name in gateway.__slots__}  # type: ignore[attr-defined]


def test_options_are_as_the_route_table_has_them(service: Store) -> None:
    more = (
        "sticky: {header: X-Session}\nlimits: {request_timeout: 30s, max_queue: 5}\n"
        "forward_key: true\n"
    )
    text = gateway_of("number: 1, weight: 100", more=more)
    options = update_gateway(service, "openllm", text, "g.yaml", NOW).options
    assert options["sticky"]["header"] == "X-Session"
    assert options["limits"] == {"request_timeout_s": 30.0, "max_queue": 5}
    assert options["forward_key"] is True


def test_a_gateway_may_be_closed(service: Store) -> None:
    update_gateway(service, "openllm", gateway_of("number: 1, weight: 100"), "g.yaml", NOW)
    gateway = update_gateway(service, "openllm", "enabled: false\n", "g.yaml", NOW)
    assert not gateway.is_enabled
    assert gateway.targets == ()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["number: 7, port: 3000, weight: 100"], r"g.yaml:3: .*no revision 7; it has 1, 2"),
        (["number: 1, port: 1234, weight: 100"], r"g.yaml:3: .*no port 1234; it has 3000 \(open"),
        (["number: 1, port: nope, weight: 100"], r"g.yaml:3: .*no port nope"),
        (["number: 1, port: 5000, weight: 100"], r"g.yaml:3: .*not an HTTP port"),
        (
            ["number: 1, port: 3000, weight: 50", "number: 1, port: openllm, weight: 50"],
            r"g.yaml:4: .*duplicates the target",
        ),
        (["number: 1, port: 3000, weight: 99"], r"sum to 99"),
        (["number: {number}, port: 3000, weight: 100"], r"placeholder"),
    ],
)
def test_what_cannot_be_had_is_refused_at_its_line(
    service: Store, targets: list[str], message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        update_gateway(service, "openllm", gateway_of(*targets), "g.yaml", NOW)
    assert read_gateway(service, "openllm") is None
    with service.read() as queries:
        assert all(not event.subject.startswith("gateway") for event in queries.events())


def test_every_problem_is_told_at_once(service: Store) -> None:
    text = gateway_of("number: 8, weight: 50", "number: 9, weight: 50")
    with pytest.raises(ManifestError) as caught:
        update_gateway(service, "openllm", text, "g.yaml", NOW)
    assert [problem.line for problem in caught.value.problems] == [3, 4]


def test_a_terminated_revision_gets_no_traffic(service: Store) -> None:
    terminate_revision(service, "openllm", 1, NOW)
    with pytest.raises(ManifestError, match="revision 1 is terminating"):
        update_gateway(service, "openllm", gateway_of("number: 1, weight: 100"), "g.yaml", NOW)


def test_a_gateway_needs_its_service(service: Store) -> None:
    text = gateway_of("number: 1, weight: 100")
    with pytest.raises(NotFoundError, match="Service 'other' not found"):
        update_gateway(service, "other", text, "g.yaml", NOW)
