"""From a spec to a launch plan: this host's ports and paths in place of the declared ones.

Knows no state and starts nothing; ports, folder and secrets are given.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from headrace.control.devices.gpus import VISIBLE
from headrace.control.launchers.base import ContainerLimits, LaunchPlan, Step
from headrace.control.launchers.commands import steps_of
from headrace.control.launchers.mounts import mount_paths, translate_paths, translate_workdir
from headrace.control.manifests.fields.env import environment_of
from headrace.control.manifests.fields.ports import (
    names_a_declared_port,
    port_environment,
    substitute_ports,
)
from headrace.control.manifests.fields.workload import ResourcesSpec
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec

ROOT_FOLDER = "root"
"""In a launch's folder: what would be the container's file system, as far as the spec knows it."""


def plan_launch(
    name: str,
    spec: RevisionSpec | RunSpec,
    *,
    folder: Path,
    host_ports: Mapping[int, int],
    secrets: Mapping[str, str],
    uses_containers: bool,
    gpus: Iterable[str] = (),
) -> LaunchPlan:
    """What to start for a replica or a run. Raises HeadraceError if a secret is not there.

    In a container paths stay as they are and are mounted; on the host they are put below
    ``folder``'s root, and commands and workdirs that name them are told where they are.
    ``gpus``: UUIDs of those that are its own.
    """
    uuids = tuple(gpus)
    image = spec.image.url if spec.image is not None and uses_containers else None
    mounts = mount_paths(spec, folder / ROOT_FOLDER, lambda path: Path(path).is_dir())
    on_host = {} if image is not None else mounts
    ports = port_environment(spec.ports, host_ports)
    return LaunchPlan(
        name=name,
        steps=tuple(
            Step(
                command=translate_paths(substitute_ports(step.command, host_ports), on_host),
                workdir=None if step.workdir is None else translate_workdir(step.workdir, on_host),
            )
            for step in steps_of(spec)
        ),
        folder=folder,
        env={
            **_cache_environment(on_host),
            **environment_of(spec.env, secrets, ports),
            **ports,
            **({} if image is not None else _gpu_environment(spec.resources, uuids)),
        },
        inherits_env=spec.inherit_env,
        host_ports=host_ports,
        image=image,
        mounts=mounts if image is not None else {},
        limits=ContainerLimits(
            num_cores=spec.resources.cpu,
            memory_bytes=spec.resources.memory_bytes,
            gpus=uuids,
        ),
    )


def where_it_runs(spec: RevisionSpec | RunSpec, *, uses_containers: bool) -> str:
    """For people: in which container, or that it runs on the host and why."""
    if spec.image is None:
        return "host"
    if uses_containers:
        return f"container {spec.image.url}"
    return (
        f"host, in Headrace's own environment (no container runtime for {spec.image.url} is in use "
        "here)"
    )


def notes_on_launch(
    spec: RevisionSpec | RunSpec, *, uses_containers: bool, num_gpus: int
) -> tuple[str, ...]:
    """Keys that have no effect here, and values that may be a mistake, one sentence each. Adds to
    `notes_on`."""
    resources = spec.resources
    is_on_host = spec.image is None or not uses_containers
    limits = {"cpu": resources.cpu, "memory": resources.memory_bytes}
    notes = [
        f"resources.{key} limits nothing here: a command on the host takes what the machine has."
        for key, value in limits.items()
        if value is not None and is_on_host
    ]
    if resources.gpu and num_gpus == 0:
        notes.append("resources.gpu has no effect here: there is no NVIDIA GPU.")
    if spec.inherit_env and not is_on_host:
        notes.append("inherit_env has no effect here: a container inherits no variables.")
    notes += [
        f"env.{name} contains a declared port and is passed on unchanged. Write ${{PORT}} or "
        "${PORT_<NAME>} for the host port."
        for name, item in spec.env.items()
        if item.value is not None and names_a_declared_port(name, item.value, spec.ports)
    ]
    return tuple(notes)


def _gpu_environment(resources: ResourcesSpec, gpus: tuple[str, ...]) -> dict[str, str]:
    """Which GPUs CUDA is to see. A container has no others, so it needs to be told nothing."""
    if gpus or resources.gpu == 0:
        return {VISIBLE: ",".join(gpus)}
    return {}


def _cache_environment(mounts: Mapping[str, Path]) -> dict[str, str]:
    """Programs have the hub's cache built in; on the host they must be told where it is mounted."""
    for path, host in mounts.items():
        if path.rstrip("/").endswith("/.cache/huggingface"):
            return {"HF_HOME": str(host)}
    return {}
