from pathlib import Path

import pytest

from headrace.control.errors import SecretNotFoundError
from headrace.control.launchers.base import ContainerLimits, LaunchPlan
from headrace.control.launchers.planning import notes_on_launch, plan_launch, where_it_runs
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec


def revision(**keys: object) -> RevisionSpec:
    return RevisionSpec.model_validate({"run": "serve --port 3000", "ports": [3000], **keys})


def test_this_hosts_ports_take_the_place_of_the_declared_ones(tmp_path: Path) -> None:
    env = {"BASE_URL": "http://localhost:${PORT}/v1", "T_DB_PORT": "3000", "API": "${PORT_3000}"}
    spec = revision(env=env)
    plan = plan_launch(
        "a-1-x", spec, folder=tmp_path, host_ports={3000: 41000}, secrets={}, uses_containers=False
    )
    assert [step.command for step in plan.steps] == ["serve --port 41000"]
    assert dict(plan.env) == {
        "BASE_URL": "http://localhost:41000/v1",
        "T_DB_PORT": "3000",
        "API": "41000",
        "PORT": "41000",
        "PORT_3000": "41000",
    }


def test_on_the_host_paths_lie_below_the_folder(tmp_path: Path) -> None:
    spec = RunSpec.model_validate(
        {
            "name": "job",
            "image": "torch:2",
            "import": {"/code/": str(tmp_path), "/root/.cache/huggingface/": "artifact://models"},
            "run": [{"command": "python /code/app.py", "workdir": "/code/server"}],
        }
    )
    plan = plan_launch("1", spec, folder=tmp_path, host_ports={}, secrets={}, uses_containers=False)
    root = tmp_path / "root"
    assert plan.image is None
    assert plan.steps[0].command == f"python {root}/code/app.py"
    assert plan.steps[0].workdir == root / "code" / "server"
    assert plan.env["HF_HOME"] == str(root / "root/.cache/huggingface")
    assert plan.mounts == {}


def test_in_a_container_paths_are_mounted(tmp_path: Path) -> None:
    spec = RunSpec.model_validate(
        {
            "name": "job",
            "image": "torch:2",
            "import": {"/code": str(tmp_path)},
            "run": [{"command": "python /code/app.py", "workdir": "/code"}],
        }
    )
    plan = plan_launch("1", spec, folder=tmp_path, host_ports={}, secrets={}, uses_containers=True)
    assert plan.image == "torch:2"
    assert plan.steps[0].command == "python /code/app.py"
    assert plan.steps[0].workdir == Path("/code")
    assert plan.mounts == {"/code": tmp_path / "root" / "code"}
    assert "HF_HOME" not in plan.env


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    spec = revision(env={"HF_TOKEN": {"secret": "hub"}})
    with pytest.raises(SecretNotFoundError, match="hub"):
        plan_launch("a", spec, folder=tmp_path, host_ports={}, secrets={}, uses_containers=False)
    plan = plan_launch(
        "a", spec, folder=tmp_path, host_ports={}, secrets={"hub": "sesame"}, uses_containers=False
    )
    assert plan.env["HF_TOKEN"] == "sesame"
    assert "sesame" not in repr(plan)


def planned(
    folder: Path, gpus: list[str], uses_containers: bool = False, **keys: object
) -> LaunchPlan:
    return plan_launch(
        "a",
        revision(**keys),
        folder=folder,
        host_ports={},
        secrets={},
        uses_containers=uses_containers,
        gpus=gpus,
    )


def test_its_gpus_are_all_that_cuda_sees_whatever_the_file_says(tmp_path: Path) -> None:
    env = {"CUDA_VISIBLE_DEVICES": "0,1,2"}
    plan = planned(tmp_path, ["GPU-a", "GPU-b"], resources={"gpu": 2}, env=env)
    assert plan.env["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert planned(tmp_path, [], resources={"gpu": 0}).env["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in planned(tmp_path, []).env
    # Where there is no GPU, what asked for one runs without.
    assert "CUDA_VISIBLE_DEVICES" not in planned(tmp_path, [], resources={"gpu": 1}).env


def test_a_container_is_limited_to_its_resources(tmp_path: Path) -> None:
    resources = {"cpu": "500m", "memory": "1Gi", "gpu": 1}
    plan = planned(tmp_path, ["GPU-a"], True, image="torch:2", resources=resources)
    assert plan.limits == ContainerLimits(0.5, 2**30, ("GPU-a",))
    assert "CUDA_VISIBLE_DEVICES" not in plan.env


@pytest.mark.parametrize(
    ("image", "uses_containers", "num_gpus", "told"),
    [
        (None, True, 1, ["resources.cpu", "resources.memory"]),
        ("torch:2", False, 0, ["resources.cpu", "resources.memory", "resources.gpu"]),
        ("torch:2", True, 0, ["resources.gpu"]),
        ("torch:2", True, 1, []),
    ],
)
def test_tells_what_of_its_resources_has_no_effect(
    image: str | None, uses_containers: bool, num_gpus: int, told: list[str]
) -> None:
    spec = revision(image=image, resources={"cpu": 2, "memory": "1Gi", "gpu": 1})
    notes = notes_on_launch(spec, uses_containers=uses_containers, num_gpus=num_gpus)
    assert [note.split()[0] for note in notes] == told
    assert notes_on_launch(revision(), uses_containers=False, num_gpus=0) == ()


@pytest.mark.parametrize(
    ("image", "uses_containers", "told"),
    [(None, True, "host"), ("torch:2", True, "container torch:2"), ("torch:2", False, "host, in")],
)
def test_tells_where_it_runs(image: str | None, uses_containers: bool, told: str) -> None:
    spec = revision(**({} if image is None else {"image": image}))
    assert where_it_runs(spec, uses_containers=uses_containers).startswith(told)


def test_a_secret_is_passed_on_exactly_as_it_is(tmp_path: Path) -> None:
    spec = revision(env={"PORT_OF_DB": {"secret": "port"}, "KEY": {"secret": "key"}})
    secrets = {"port": "3000", "key": "a${PORT}b"}
    plan = plan_launch(
        "a", spec, folder=tmp_path, host_ports={3000: 41000}, secrets=secrets, uses_containers=False
    )
    assert plan.env["PORT_OF_DB"] == "3000"
    assert plan.env["KEY"] == "a${PORT}b"


def test_a_declared_port_in_a_variable_is_noted() -> None:
    env = {"T_DB_PORT": "3000", "BASE_URL": "http://localhost:3000", "LENGTH": "3000", "A": "x"}
    notes = notes_on_launch(revision(env=env), uses_containers=False, num_gpus=0)
    assert [note.split()[0] for note in notes] == ["env.T_DB_PORT", "env.BASE_URL"]


def test_inheriting_variables_is_for_the_host(tmp_path: Path) -> None:
    spec = revision(image="torch:2", inherit_env=True)
    for uses_containers, told in ((True, ["inherit_env"]), (False, [])):
        notes = notes_on_launch(spec, uses_containers=uses_containers, num_gpus=0)
        assert [note.split()[0] for note in notes] == told
    assert planned(tmp_path, [], inherit_env=True).inherits_env
    assert not planned(tmp_path, []).inherits_env
