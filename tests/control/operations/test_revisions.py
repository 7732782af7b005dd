"""Revisions are numbered snapshots; terminating one hands its traffic to the others."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.errors import ConflictError, NotFoundError
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.operations.gateways import update_gateway
from headrace.control.operations.revisions import (
    check_revision,
    create_revision,
    list_revisions,
    read_revision,
    terminate_revision,
    without_target,
)
from headrace.control.operations.secrets import put_secret
from headrace.control.operations.services import create_service
from headrace.control.resources import GatewayStatus, RevisionPhase, Target
from headrace.control.store.store import Store
from headrace.control.vault import Vault

NOW = datetime(2026, 3, 1, tzinfo=UTC)

REVISION = """\
message: OpenLLM on vLLM
run: openllm start --port 3000
autoscaling: {min: 2, max: 3, metric: gpu, target: 60}
ports:
- {port: 3000, name: openllm, type: http}
"""


@pytest.fixture
def service(store: Store) -> Store:
    create_service(store, "openllm", NOW)
    return store


def deploy(store: Store, *weights: int) -> None:
    """As many revisions as weights, each a target."""
    for _ in weights:
        create_revision(store, "openllm", REVISION, "v.yaml", NOW)
    targets = "".join(
        f"- {{number: {index}, port: 3000, weight: {weight}}}\n"
        for index, weight in enumerate(weights, start=1)
    )
    update_gateway(store, "openllm", f"enabled: true\ntargets:\n{targets}", "g.yaml", NOW)


def test_a_check_creates_nothing(service: Store) -> None:
    assert check_revision(service, "openllm", REVISION, "v.yaml").message == "OpenLLM on vLLM"
    with pytest.raises(ManifestError, match=r"v.yaml:1: ?.*unknown key"):
        check_revision(service, "openllm", "runn: serve\n", "v.yaml")
    with pytest.raises(ManifestError, match="secret 'hub' not found"):
        check_revision(service, "openllm", "run: serve\nenv: {TOKEN: {secret: hub}}\n", "v.yaml")
    with pytest.raises(NotFoundError):
        check_revision(service, "other", REVISION, "v.yaml")
    assert list_revisions(service, "openllm") == []


def test_a_revision_keeps_its_manifest(service: Store) -> None:
    revision = create_revision(service, "openllm", REVISION, "revision-v1.yaml", NOW)
    assert (revision.number, revision.num_desired_replicas) == (1, 2)
    spec = RevisionSpec.model_validate(revision.spec)
    assert spec.message == "OpenLLM on vLLM"
    assert spec.exposed_port == 3000
    assert read_revision(service, "openllm", 1) == revision
    assert list_revisions(service, "openllm") == [revision]
    with service.read() as queries:
        event = queries.events(service="openllm")[-1]
    assert (event.subject, event.what) == ("revision openllm/1", "created")
    assert "revision-v1.yaml" in event.why


def test_one_that_scales_to_zero_starts_once(service: Store) -> None:
    manifest = REVISION.replace("min: 2", "min: 0")
    assert create_revision(service, "openllm", manifest, "v.yaml", NOW).num_desired_replicas == 1


def test_a_wrong_manifest_changes_nothing(service: Store) -> None:
    wrong = f"{REVISION}nonsense: 1\n"
    with pytest.raises(ManifestError, match=r"v1.yaml:6: nonsense"):
        create_revision(service, "openllm", wrong, "v1.yaml", NOW)
    with pytest.raises(NotFoundError, match="Service 'other' not found"):
        create_revision(service, "other", REVISION, "v1.yaml", NOW)
    assert list_revisions(service, "openllm") == []
    assert create_revision(service, "openllm", REVISION, "v1.yaml", NOW).number == 1


def test_a_secret_that_is_not_there_is_refused_at_its_line(service: Store, tmp_path: Path) -> None:
    manifest = f"{REVISION}env:\n  HF_TOKEN: {{secret: hf}}\n"
    with pytest.raises(
        ManifestError, match=r"v1.yaml:7: .*secret 'hf' not found.*headrace secret create"
    ):
        create_revision(service, "openllm", manifest, "v1.yaml", NOW)
    put_secret(service, Vault.open(tmp_path / "key"), "hf", "hf_123", NOW)
    assert create_revision(service, "openllm", manifest, "v1.yaml", NOW).number == 1


def test_local_imports_begin_at_the_files_folder(service: Store, tmp_path: Path) -> None:
    manifest = f"{REVISION}import:\n  /code/: ./code\n"
    revision = create_revision(service, "openllm", manifest, "v1.yaml", NOW, folder=tmp_path)
    source = RevisionSpec.model_validate(revision.spec).imports["/code"]
    assert source.path is not None
    assert Path(source.path) == tmp_path / "code"


def test_what_is_not_there_is_said_kindly(service: Store) -> None:
    with pytest.raises(NotFoundError, match="Revision 7 of service"):
        read_revision(service, "openllm", 7)
    with pytest.raises(NotFoundError, match="Revision 7 of service"):
        terminate_revision(service, "openllm", 7, NOW)
    with pytest.raises(NotFoundError, match="Service 'other' not found"):
        list_revisions(service, "other")


def test_its_traffic_goes_to_the_others_in_proportion(service: Store) -> None:
    deploy(service, 50, 20, 10, 20)
    terminated = terminate_revision(service, "openllm", 1, NOW)
    assert terminated.revision.phase is RevisionPhase.TERMINATING
    assert read_revision(service, "openllm", 1) == terminated.revision
    with service.read() as queries:
        gateway = queries.gateway("openllm")
        events = queries.events(service="openllm")
    assert gateway is not None
    assert gateway == terminated.gateway
    assert gateway.targets == (Target(2, 3000, 40), Target(3, 3000, 20), Target(4, 3000, 40))
    assert gateway.status is GatewayStatus.PENDING
    assert "revision 2 40%, revision 3 20%, revision 4 40%" in terminated.note
    assert [event.subject for event in events[-2:]] == ["revision openllm/1", "gateway openllm"]


def test_with_the_last_target_gone_the_endpoint_says_so(service: Store) -> None:
    deploy(service, 100)
    terminated = terminate_revision(service, "openllm", 1, NOW)
    assert terminated.gateway is not None
    assert terminated.gateway.is_enabled
    assert terminated.gateway.targets == ()
    assert "returns 503 until" in terminated.note


def test_without_a_share_there_is_nothing_to_say(service: Store) -> None:
    deploy(service, 100)
    create_revision(service, "openllm", REVISION, "v.yaml", NOW)
    with service.read() as queries:
        before = queries.gateway("openllm")
    terminated = terminate_revision(service, "openllm", 2, NOW)
    assert terminated.note == ""
    assert terminated.gateway == before


def test_a_revision_is_terminated_once(service: Store) -> None:
    create_revision(service, "openllm", REVISION, "v.yaml", NOW)
    terminate_revision(service, "openllm", 1, NOW)
    with pytest.raises(ConflictError, match="already terminating"):
        terminate_revision(service, "openllm", 1, NOW)
    with service.begin() as tx:
        tx.set_phase("openllm", 1, RevisionPhase.TERMINATED)
    with pytest.raises(ConflictError, match="already terminated"):
        terminate_revision(service, "openllm", 1, NOW)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12))
def test_shares_always_sum_to_100(weights: list[int]) -> None:
    targets = tuple(Target(index, 3000, weight) for index, weight in enumerate(weights))
    left = without_target(targets, 0)
    assert [target.number for target in left] == list(range(1, len(weights)))
    if left:
        assert sum(target.weight for target in left) == 100
        assert all(target.weight >= 0 for target in left)
    others = sum(weights[1:])
    for before, after in zip(weights[1:], left, strict=True):
        if others:  # by largest remainder, nobody is off by 1 or more
            assert abs(after.weight - before * 100 / others) < 1
        assert replace(after, weight=before) in targets
