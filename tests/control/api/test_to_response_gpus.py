from datetime import UTC, datetime

from headrace.cli.deploy.render.resources import show_replica
from headrace.control.api.to_response import ResponseBuilder
from headrace.control.devices.gpus import Gpu
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.resources import Replica, ReplicaState, Revision, RevisionPhase, Run, RunState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = {"run": "serve", "ports": [3000], "resources": {"gpu": 1}}


def viewer(*gpus: Gpu) -> ResponseBuilder:
    return ResponseBuilder(gateway_url="http://localhost:8080", uses_containers=False, gpus=gpus)


def test_a_replica_shows_its_gpus_by_number_and_uuid() -> None:
    gpus = {"GPU-b": 1.0, "GPU-c": 0.5, "GPU-gone": 1.0}
    replica = Replica("svc-1-x", "svc", 1, ReplicaState.READY, NOW, NOW, gpus=gpus)
    machine = viewer(Gpu("GPU-a", 0), Gpu("GPU-b", 1), Gpu("GPU-c", 2))
    view = machine.replica(replica, RevisionSpec.model_validate(SPEC))
    assert [(gpu.uuid, gpu.index, gpu.share) for gpu in view.gpus] == [
        ("GPU-b", 1, 1.0),
        ("GPU-c", 2, 0.5),
        ("GPU-gone", None, 1.0),
    ]
    assert show_replica(view) == ("svc-1-x ready, GPU 1, 0.5 of GPU 2, GPU GPU-gone, 3000 (http)")


def test_revisions_and_runs_note_that_there_is_no_gpu() -> None:
    revision = Revision("svc", 1, SPEC, RevisionPhase.ACTIVE, 1, NOW)
    run = Run("1", "job", SPEC, RunState.RUNNING, NOW, NOW, gpus={"GPU-a": 1})
    told = ["resources.gpu has no effect here: there is no NVIDIA GPU."]
    assert viewer().revision(revision, []).notes == told
    assert viewer().run(run).notes == told
    there = viewer(Gpu("GPU-a", 0))
    assert there.revision(revision, []).notes == []
    assert there.run(run).notes == []
    assert [gpu.index for gpu in there.run(run).gpus] == [0]
