"""A real container runtime, with an image that comes from no registry.

Docker if its daemon responds, as for ``headrace up``; else Podman, with storage, state, locks and
configuration in a folder of its own. Debian's packages ``podman``, ``runc`` and ``busybox-static``
bring what it takes.
"""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_IMAGE = "localhost/headrace-test"
_TIMEOUT_S = 120.0
_ULIMIT = 4096
"""Of files and processes in a container. Podman's defaults exceed its hard limits where root lacks
CAP_SYS_RESOURCE."""


@dataclass(frozen=True)
class ContainerRuntime:
    """A runtime's client, and an image of the host's static busybox alone."""

    path: str
    image: str = _IMAGE
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that each of its clients needs, those of `ContainerLauncher` included."""

    def run(self, *arguments: str) -> str:
        """Run a command of the client; returns its stdout. Raises RuntimeError, with its stderr."""
        done = subprocess.run(
            [self.path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, **self.env},
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.path} {arguments[0]}: {done.stderr.strip()}")
        return done.stdout


def find_client() -> str | None:
    """The path of the client to use. None if there is none, or no busybox for an image."""
    if shutil.which("busybox") is None:
        return None
    docker = shutil.which("docker")
    if docker is not None:
        answer = subprocess.run(
            [docker, "info"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if answer.returncode == 0:
            return docker
    return shutil.which("podman")


@contextmanager
def open_runtime(client: str) -> Iterator[ContainerRuntime]:
    """The runtime of `find_client`. Its image and containers are removed at the end.

    Raises RuntimeError, with the runtime's message, if no container can be run here.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-") as made:
        folder = Path(made)
        is_podman = Path(client).name == "podman"
        runtime = ContainerRuntime(client, env=_configure_podman(folder) if is_podman else {})
        archive = folder / "image.tar"
        _write_image(archive)
        runtime.run("import", str(archive), runtime.image)
        try:
            runtime.run("run", "--rm", "--network", "host", runtime.image, "/bin/true")
            yield runtime
        finally:
            runtime.run("rmi", "--force", runtime.image)


def _configure_podman(folder: Path) -> dict[str, str]:
    """Write Podman's configuration; returns the variables that name its files."""
    engine = {
        "cgroup_manager": "cgroupfs",
        "events_logger": "none",
        "lock_type": "file",  # a user's storages share the other kind
        "tmp_dir": str(folder / "tmp"),
    }
    if shutil.which("runc"):  # crun refuses hosts with cgroups of both versions
        engine["runtime"] = "runc"
    storage = {
        "driver": "vfs",  # needs nothing of the kernel; the image is small
        "graphroot": str(folder / "graph"),
        "runroot": str(folder / "run"),
    }
    ulimits = [f"{name}={_ULIMIT}:{_ULIMIT}" for name in ("nofile", "nproc")]
    files: dict[str, dict[str, Mapping[str, object]]] = {
        "containers.conf": {"containers": {"default_ulimits": ulimits}, "engine": engine},
        "storage.conf": {"storage": storage},
    }
    for name, tables in files.items():
        (folder / name).write_text(_toml(tables))
    return {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }


def _toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for table, values in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    return "\n".join([*lines, ""])


def _write_image(archive: Path) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    with tarfile.open(archive, "w") as image:
        image.add(Path(busybox).resolve(), "bin/busybox")
        for name in sorted(set(applets.stdout.split()) - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            image.addfile(link)
