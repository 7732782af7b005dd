"""The manifest of a revision: an immutable version of a deployment."""

from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import Field, model_validator

from headrace.control.manifests.compat.key_aliases import (
    SERVICE_MOVES,
    VOLUME_MOVES,
    emptied,
    rearranged,
)
from headrace.control.manifests.fields.autoscaling import AutoscalingSpec
from headrace.control.manifests.fields.env import Env
from headrace.control.manifests.fields.names import HttpPath
from headrace.control.manifests.fields.quantities import PositiveSeconds, Seconds
from headrace.control.manifests.fields.sources import Imports
from headrace.control.manifests.fields.workload import (
    DEFAULT_GRACE_PERIOD_S,
    DEFAULT_PORT,
    Commands,
    Engine,
    ImageSpec,
    PortNumber,
    Ports,
    PortSpec,
    ResourcesSpec,
    ShellArgs,
    find_port,
)
from headrace.control.manifests.launchable import launch_faults
from headrace.control.manifests.parsing.manifest_model import ManifestModel, NoEffect, fault
from headrace.control.manifests.parsing.validate import ManifestDocument, read
from headrace.control.manifests.parsing.yaml_document import load
from headrace.control.manifests.text_keys import is_text, prepared

DEFAULT_READINESS_TIMEOUT_S = 600.0
DEFAULT_DRAIN_TIMEOUT_S = 600.0

ONE_HOST = "replicas are processes on this machine"


class ReadinessSpec(ManifestModel):
    """When a replica may be sent requests."""

    path: HttpPath = "/health"
    """Probed with GET; if there is no such page, an open port is enough."""
    port: PortNumber | None = None
    """Default: the exposed port."""
    timeout_s: PositiveSeconds = Field(default=DEFAULT_READINESS_TIMEOUT_S, alias="timeout")
    """A replica that is not ready by then has failed."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kind = str(value.get("type", "http")).lower()
        if kind not in ("http", "tcp", ""):
            raise fault("must be http: replicas are probed over HTTP", "type")
        return {key: item for key, item in value.items() if key != "type"}


class MonitoringSpec(ManifestModel):
    """Where a replica exports its metrics."""

    port: PortNumber
    path: HttpPath = "/metrics"


class RevisionSpec(ManifestModel):
    """One version of a deployment. Set ``run``, or ``model`` for the shorthand."""

    message: str = ""
    """What is new in this revision, for users."""
    name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    image: ImageSpec | None = None
    resources: ResourcesSpec = ResourcesSpec()
    run: Commands = ()
    model: str | None = None
    """Shorthand: the model to serve, by short name, hub id or file."""
    args: ShellArgs = ""
    """Shorthand: more arguments for the engine."""
    engine: Engine = Field(
        default_factory=lambda data: "headrace" if data.get("model") else "command"
    )
    """Shorthand: what serves the model; ``command`` means ``run``."""
    imports: Imports = Field(default={}, alias="import")
    """Folders put in place before the commands start."""
    env: Env = Field(default={})
    inherit_env: bool = False
    """On the host: inherit every variable of `headrace up` except Headrace's own credentials."""
    autoscaling: AutoscalingSpec = AutoscalingSpec()
    expose: PortNumber | None = None
    """The port that serves the API; see `exposed_port`."""
    ports: Ports = Field(
        default_factory=lambda data: (PortSpec(port=data.get("expose") or DEFAULT_PORT),)
    )
    monitoring: tuple[MonitoringSpec, ...] = ()
    readiness: ReadinessSpec = ReadinessSpec()
    drain_timeout_s: Seconds = Field(default=DEFAULT_DRAIN_TIMEOUT_S, alias="drain_timeout")
    """Maximum time for the open requests of a draining replica."""
    grace_period_s: Seconds = Field(default=DEFAULT_GRACE_PERIOD_S, alias="grace_period")
    """Between SIGTERM and SIGKILL."""

    auxiliary: Annotated[Any, NoEffect("it belongs to the vendor's dashboard")] = None
    openapi: Annotated[Any, NoEffect("it belongs to the vendor's dashboard")] = None
    serverless: Annotated[Any, NoEffect("`autoscaling.min: 0` scales to zero")] = None
    service_account: Annotated[Any, NoEffect(ONE_HOST)] = None
    service_account_name: Annotated[str | None, NoEffect(ONE_HOST)] = None
    launch_immediately: Annotated[bool | None, NoEffect("a revision always starts at once")] = None

    @model_validator(mode="after")
    def _check(self) -> "RevisionSpec":
        check_engine(self.run, self.model, self.args, self.engine)
        if not self.ports:
            raise fault("must name at least one port", "ports")
        if self.expose is not None and find_port(self.ports, self.expose) is None:
            raise fault(f"{self.expose} is not among the ports ({_numbers(self.ports)})", "expose")
        for index, monitored in enumerate(self.monitoring):
            if find_port(self.ports, monitored.port) is None:
                reason = f"{monitored.port} is not among the ports ({_numbers(self.ports)})"
                raise fault(reason, "monitoring", index, "port")
        port = self.readiness.port
        if port is not None and find_port(self.ports, port) is None:
            reason = f"{port} is not among the ports ({_numbers(self.ports)})"
            raise fault(reason, "readiness", "port")
        return self

    @property
    def exposed_port(self) -> int:
        """The declared port that serves the API: ``expose``, or the first that speaks HTTP."""
        if self.expose is not None:
            return self.expose
        return next((port.port for port in self.ports if port.type == "http"), self.ports[0].port)

    def find_port(self, wanted: int | str) -> PortSpec | None:
        """The declared port with this number or name."""
        return find_port(self.ports, wanted)


def parse_revision(
    text: str, file: str, folder: FilePath | None = None
) -> ManifestDocument[RevisionSpec]:
    """Raises ManifestError. Relative paths are below ``folder`` (default: the file's folder)."""
    document = load(text, file, is_text)
    document = rearranged(document, {**SERVICE_MOVES, **VOLUME_MOVES})
    document = emptied(document, "service", SERVICE_MOVES)
    manifest = read(prepared(document, folder), RevisionSpec)
    return manifest.without(launch_faults(manifest.spec))


def check_engine(run: Commands, model: str | None, args: str, engine: Engine) -> None:
    """Raises a fault unless exactly one of ``run`` and ``model`` is set, with a suitable engine."""
    if not run and model is None:
        raise fault("nothing to start: set `run`, or `model` for the shorthand")
    if run and model is not None:
        raise fault("excludes `run`; keep one", "model")
    if engine == "command" and model is not None:
        raise fault("takes its command from `run`; leave out `model`, or choose headrace or vllm",
                    "engine")  # fmt: skip
    if engine != "command" and model is None:
        raise fault(f"{engine} needs a `model`; with `run`, leave `engine` out", "engine")
    if args and model is None:
        raise fault("go with `model`; write them in the command of `run`", "args")


def _numbers(ports: Ports) -> str:
    return ", ".join(str(port.port) for port in ports)
