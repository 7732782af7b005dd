"""Files of gateways: weights, placeholders, limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.manifests.gateway import (
    GatewaySpec,
    parse_gateway,
    route_limits,
    route_sticky,
)
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.core.gateway.routes import Limits, Sticky


def spec_of(text: str) -> GatewaySpec:
    return parse_gateway(text, "g.yaml").spec


def problems_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse_gateway(text, "g.yaml")
    return [str(problem) for problem in caught.value.problems]


def target(number: object = 1, port: object = 3000, weight: object = 100) -> str:
    return f"targets:\n- number: {number}\n  port: {port}\n  weight: {weight}\n"


def test_targets_and_weights() -> None:
    spec = spec_of(
        "enabled: true\ntargets:\n"
        "- {number: 1, port: 3000, weight: 99}\n- {number: 2, port: api, weight: 1}\n"
    )
    assert spec.enabled
    assert [(item.number, item.port, item.weight) for item in spec.targets] == [
        (1, 3000, 99),
        (2, "api", 1),
    ]


def test_a_target_without_a_port_takes_the_exposed_one() -> None:
    assert spec_of("targets: [{number: 1, weight: 100}]").targets[0].port is None


@pytest.mark.parametrize(
    ("written", "enabled"), [("yes", True), ("on", True), ("no", False), ("false", False)]
)
def test_enabled_takes_the_words_that_people_use(written: str, enabled: bool) -> None:
    assert spec_of(f"enabled: {written}\n{target()}").enabled is enabled


def test_a_disabled_gateway_may_have_no_targets_and_any_sum() -> None:
    assert spec_of("enabled: false").targets == ()
    assert spec_of(f"enabled: false\n{target(weight=10)}").targets[0].weight == 10


@given(st.lists(st.integers(min_value=0, max_value=100), min_size=1, max_size=5))
def test_weights_must_sum_to_a_hundred(weights: list[int]) -> None:
    lines = ["targets:"]
    lines += [f"- {{number: {n}, weight: {weight}}}" for n, weight in enumerate(weights, start=1)]
    text = "\n".join(lines)
    if sum(weights) == 100:
        assert [item.weight for item in spec_of(text).targets] == weights
    else:
        total = sum(weights)
        assert problems_of(text) == [
            f"g.yaml:2: targets[0].weight: weights sum to {total}, they must sum to 100"
        ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            target(number="{number}"),
            "g.yaml:2: targets[0].number: `{number}` is a placeholder: set the revision's number; "
            "see `headrace revision list --service ...`",
        ),
        (
            "targets:\n- number: 1\n  port: 3000\n  weight: {weight}\n",
            "g.yaml:4: targets[0].weight: `{weight}` is a placeholder: set the percentage",
        ),
        (target(weight=-10), "g.yaml:4: targets[0].weight: must be at least 0"),
        (target(weight=110), "g.yaml:4: targets[0].weight: must be at most 100"),
        (target(weight=100.0), "g.yaml:4: targets[0].weight: must be a whole number"),
        (target(weight="100%"), "g.yaml:4: targets[0].weight: must be a whole number"),
        (target(weight="true"), "g.yaml:4: targets[0].weight: must be a whole number"),
        (target(number=0), "g.yaml:2: targets[0].number: must be at least 1"),
        (target(number="one"), "g.yaml:2: targets[0].number: must be a whole number"),
        (target(port=0), "g.yaml:3: targets[0].port: must be at least 1"),
        (target(port=99999), "g.yaml:3: targets[0].port: must be at most 65535"),
        (target(port="a b"), "g.yaml:3: targets[0].port: must be letters"),
        (target() + "  wait: 1\n", "g.yaml:5: targets[0].wait: unknown key; did you mean `weight`"),
        ("targets:\n- weight: 100\n", "g.yaml:2: targets[0].number: is missing"),
        ("targets:\n- number: 1\n", "g.yaml:2: targets[0].weight: is missing"),
        ("enabled: true\n", "g.yaml:1: targets: must name at least one revision"),
        ("enabled: perhaps\n", "g.yaml:1: enabled: must be true or false"),
        ("enabled:\n" + target(), "g.yaml:1: enabled: must be true or false"),
        (
            "targets:\n- {number: 1, weight: 50}\n- {number: 1, weight: 50}\n",
            "g.yaml:3: targets[1].number: duplicates targets[0]",
        ),
        (target() + "forward_key: perhaps\n", "g.yaml:5: forward_key: must be true or false"),
        (target() + "sticky: cookie\n", "g.yaml:5: sticky: must be"),
        (target() + "sticky: {header: 'a b'}\n", "g.yaml:5: sticky.header: must be the name of"),
        (target() + "sticky: {}\n", "g.yaml:5: sticky: must be `user`, or {header: NAME}"),
        (target() + "limits: {max_body: big}\n", "g.yaml:5: limits.max_body: must be a size"),
        (target() + "limits: {max_queue: -1}\n", "g.yaml:5: limits.max_queue: must be at least 0"),
        (target() + "limits: {request_timeout: 0}\n", "g.yaml:5: limits.request_timeout: must be"),
    ],
)
def test_mistakes_are_told_with_line_and_reason(text: str, expected: str) -> None:
    told = problems_of(text)
    assert len(told) == 1, told
    assert told[0].startswith(expected), told[0]


def test_a_placeholder_does_not_hide_other_mistakes() -> None:
    told = problems_of(target(number="{number}", weight=-1))
    assert [problem.split(": ")[1] for problem in told] == [
        "targets[0].number",
        "targets[0].weight",
    ]


def test_limits_and_stickiness_reach_the_route_table() -> None:
    spec = spec_of(
        target() + "sticky: {header: X-Session}\n"
        "limits: {request_timeout: 1h, idle_timeout: 90s, max_body: 32MiB, max_queue: 0,\n"
        "  queue_timeout: 500ms, max_concurrency: 64}\n"
    )
    assert route_limits(spec.limits) == Limits(
        request_timeout_s=3600,
        idle_timeout_s=90,
        max_body_bytes=32 * 1024**2,
        max_queue=0,
        queue_timeout_s=0.5,
        max_concurrency=64,
    )
    assert route_sticky(spec.sticky) == Sticky(header="X-Session")
    assert route_sticky(spec_of(target() + "sticky: user\n").sticky) == Sticky(user=True)
    assert route_sticky(None) is None


def test_keys_are_forwarded_on_request_alone() -> None:
    assert not spec_of(target()).forward_key
    assert spec_of(target() + "forward_key: true\n").forward_key


def test_what_is_left_out_has_the_gateways_default() -> None:
    assert route_limits(spec_of(target()).limits) == Limits()


def test_what_belongs_to_a_cluster_is_accepted_and_told() -> None:
    document = parse_gateway(
        target() + "ingress_class: nginx\ningress_host: a.b\nannotations: {x/y: 1.10}\n", "g.yaml"
    )
    assert document.spec.annotations == {"x/y": "1.10"}
    assert [note.split()[0] for note in document.notes] == [
        "ingress_class",
        "ingress_host",
        "annotations",
    ]


def test_the_store_reads_back_what_it_keeps() -> None:
    spec = spec_of(target() + "sticky: user\nlimits: {max_body: 1M, queue_timeout: 3}\n")
    assert GatewaySpec.model_validate(spec.model_dump(mode="json")) == spec


def test_later_checks_name_file_and_line_too() -> None:
    document = parse_gateway(target(number=7), "gateway.yaml")
    problem = document.problem(("targets", 0, "number"), "revision 7 does not exist")
    assert str(problem) == "gateway.yaml:2: targets[0].number: revision 7 does not exist"
