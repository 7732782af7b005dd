"""Builds launch plans from specs: replaces declared ports and paths by those of this host. Pure,
except that it checks which folders exist."""

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
"""In a launch's folder: stands for the container's root filesystem."""


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
    """The launch plan of a replica or a run. Raises HeadraceError if a secret does not exist.

    In a container, paths are mounted unchanged. On the host, they are placed below ``folder``'s
    root, and replaced in commands and workdirs. ``gpus``: UUIDs of the assigned ones.
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
    """For users: the container's image, or ``host`` and the reason."""
    if spec.image is None:
        return "host"
    if uses_containers:
        return f"container {spec.image.url}"
    return (
        f"host, in Headrace's own environment (no container runtime available for {spec.image.url})"
    )


def notes_on_launch(
    spec: RevisionSpec | RunSpec, *, uses_containers: bool, num_gpus: int
) -> tuple[str, ...]:
    """Sentences about keys without effect on this machine, and about likely mistakes. Complements
    `notes_on`."""
    resources = spec.resources
    is_on_host = spec.image is None or not uses_containers
    limits = {"cpu": resources.cpu, "memory": resources.memory_bytes}
    notes = [
        f"resources.{key} has no effect here: a process on the host is not limited."
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
    """The GPUs that CUDA may use on the host. A container sees only its own anyway."""
    if gpus or resources.gpu == 0:
        return {VISIBLE: ",".join(gpus)}
    return {}


def _cache_environment(mounts: Mapping[str, Path]) -> dict[str, str]:
    """On the host, HF_HOME tells programs where an imported Hugging Face cache is."""
    for path, host in mounts.items():
        if path.rstrip("/").endswith("/.cache/huggingface"):
            return {"HF_HOME": str(host)}
    return {}
