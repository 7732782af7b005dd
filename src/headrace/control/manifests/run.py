"""The manifest of a run: a job that runs once."""

from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import Field, model_validator

from headrace.control.manifests.compat.key_aliases import (
    INTERACTIVE_MOVES,
    VOLUME_MOVES,
    rearranged,
)
from headrace.control.manifests.fields.env import Env
from headrace.control.manifests.fields.quantities import PositiveSeconds, Seconds
from headrace.control.manifests.fields.sources import Exports, Imports
from headrace.control.manifests.fields.workload import (
    DEFAULT_GRACE_PERIOD_S,
    Commands,
    Engine,
    ImageSpec,
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
from headrace.control.manifests.revision import ONE_HOST, check_engine
from headrace.control.manifests.text_keys import is_text, prepared


class InteractiveSpec(ManifestModel):
    """The session that a cluster would open beside the commands."""

    jupyter: Annotated[Any, NoEffect("no notebook is started; run one as a command")] = None
    idle_timeout: Annotated[Any, NoEffect("no notebook is started; run one as a command")] = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return {} if value is None else value


class RunSpec(ManifestModel):
    """One job. Set ``run``, or ``model`` for the shorthand."""

    name: str = "run"
    """A label; several runs may have the same name."""
    message: str = ""
    description: str | None = None
    tags: tuple[str, ...] = ()
    image: ImageSpec | None = None
    resources: ResourcesSpec = ResourcesSpec()
    imports: Imports = Field(default={}, alias="import")
    """Folders put in place before the commands start."""
    exports: Exports = Field(default={}, alias="export")
    """Folders saved when the commands have ended."""
    run: Commands = ()
    model: str | None = None
    """Shorthand: the model to serve, by short name, hub id or file."""
    args: ShellArgs = ""
    """Shorthand: more arguments for the engine."""
    engine: Engine = Field(
        default_factory=lambda data: "headrace" if data.get("model") else "command"
    )
    """Shorthand: what serves the model; ``command`` means ``run``."""
    env: Env = Field(default={})
    inherit_env: bool = False
    """On the host: inherit every variable of `headrace up` except Headrace's own credentials."""
    ports: Ports = Field(
        default_factory=lambda data: (PortSpec(port=8000),) if data.get("model") else ()
    )
    max_runtime_s: PositiveSeconds | None = Field(default=None, alias="max_runtime")
    """Maximum duration; then the run is terminated."""
    grace_period_s: Seconds = Field(default=DEFAULT_GRACE_PERIOD_S, alias="grace_period")
    """Between SIGTERM and SIGKILL."""

    interactive: InteractiveSpec | None = None
    termination_protection: Annotated[
        bool | None, NoEffect("a run's folder and log stay until you delete them")
    ] = None
    service_account: Annotated[Any, NoEffect(ONE_HOST)] = None
    service_account_name: Annotated[str | None, NoEffect(ONE_HOST)] = None

    @model_validator(mode="after")
    def _check(self) -> "RunSpec":
        if self.interactive is not None and not self.run and self.model is None:
            raise fault("starts no session here; set a command in `run`", "interactive")
        check_engine(self.run, self.model, self.args, self.engine)
        return self

    def find_port(self, wanted: int | str) -> PortSpec | None:
        """The declared port with this number or name."""
        return find_port(self.ports, wanted)

    def artifact_name(self, mount_path: str) -> str | None:
        """The artifact of the export at this path; None if it goes to a folder."""
        artifact = self.exports[mount_path].artifact
        if artifact is None:
            return None
        return artifact.name or _plain(f"{self.name}-{mount_path.rpartition('/')[2]}")


def parse_run(text: str, file: str, folder: FilePath | None = None) -> ManifestDocument[RunSpec]:
    """Raises ManifestError. Relative paths are below ``folder`` (default: the file's folder)."""
    document = rearranged(load(text, file, is_text), {**INTERACTIVE_MOVES, **VOLUME_MOVES})
    manifest = read(prepared(document, folder), RunSpec)
    return manifest.without(launch_faults(manifest.spec))


def _plain(text: str) -> str:
    words = "".join(character if character.isalnum() else "-" for character in text)
    return words.strip("-") or "artifact"
