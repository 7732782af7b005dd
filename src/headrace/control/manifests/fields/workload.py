"""The fields that revisions and runs share: image, resources, commands and ports."""

import math
import shlex
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from headrace.control.manifests.compat import alternative_shapes
from headrace.control.manifests.fields.names import Filled, PortName
from headrace.control.manifests.fields.quantities import PositiveBytes, Whole
from headrace.control.manifests.parsing.manifest_model import ManifestModel, NoEffect, fault

DEFAULT_PORT = 8000
DEFAULT_GRACE_PERIOD_S = 10.0

_ONE_MACHINE = "Headrace runs on one machine"


class ImageSpec(ManifestModel):
    """A container image; without a container runtime the command runs on the host."""

    url: Filled
    credential_name: Annotated[
        str | None, NoEffect("the container runtime uses its own credentials")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


def _gpu_count(value: Any) -> Any:
    """A whole number, or a share of one GPU."""
    value = alternative_shapes.gpu_count(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(_GPUS_WANTED) from None
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError(_GPUS_WANTED)
    if number == int(number):
        return int(number)
    if number > 1 or round(number, 3) != number:
        raise ValueError(_GPUS_WANTED)
    return number


_GPUS_WANTED = "must be a whole number of GPUs, or a part of one, such as 0.5"


def _cores(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(_CORES_WANTED)
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        return float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)
    except ValueError:
        raise ValueError(_CORES_WANTED) from None


_CORES_WANTED = "must be a number of cores, such as 4, 0.5 or 500m"

Cores = Annotated[
    float, BeforeValidator(_cores, json_schema_input_type=float | str), Field(gt=0, le=100_000)
]
GpuCount = Annotated[
    int | float,
    BeforeValidator(_gpu_count, json_schema_input_type=float | str | dict[str, Any]),
    Field(ge=0, le=10_000),
]


class ResourcesSpec(ManifestModel):
    """Resources of a replica or a run."""

    name: Annotated[str | None, NoEffect(_ONE_MACHINE)] = None
    """Name of a preset, in the older shape."""
    cluster: Annotated[str | None, NoEffect(_ONE_MACHINE)] = None
    preset: Annotated[str | None, NoEffect(_ONE_MACHINE)] = None
    node_names: Annotated[tuple[str, ...], NoEffect(_ONE_MACHINE)] = ()
    spot: Annotated[bool | None, NoEffect(_ONE_MACHINE)] = None
    cpu: Cores | None = None
    """Cores; ``500m`` is half a core. Limits containers only."""
    memory_bytes: PositiveBytes | None = Field(default=None, alias="memory")
    """Limits containers only."""
    gpu: GpuCount | None = None
    """Dedicated GPUs; less than 1 is a share of one; 0: none. Default: all, not dedicated."""
    gpu_type: Annotated[str | None, NoEffect(_ONE_MACHINE)] = None
    processor_type: Annotated[str | None, NoEffect(_ONE_MACHINE)] = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return alternative_shapes.resources(value)


class CommandSpec(ManifestModel):
    """One step of ``run``."""

    command: Filled
    """For the shell; may have many lines."""
    workdir: Filled | None = None
    """Folder to run it in; the replica's or run's own folder without it."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"command": value}
        if isinstance(value, dict):  # `wait` is ignored: each step waits for the one before
            return {key: item for key, item in value.items() if key != "wait"}
        raise ValueError("must be a command, or {command, workdir}")


def _command_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Commands = Annotated[
    tuple[CommandSpec, ...],
    BeforeValidator(
        _command_list,
        json_schema_input_type=str | list[str | CommandSpec],
    ),
]


def _shell_words(value: Any) -> Any:
    """A list has literal words; a string is shell text."""
    if isinstance(value, list | tuple):
        if not all(isinstance(word, str | int | float) for word in value):
            raise ValueError("must be text, or a list of words")
        return shlex.join(str(word) for word in value)
    return value


ShellArgs = Annotated[str, BeforeValidator(_shell_words, json_schema_input_type=str | list[str])]

Engine = Literal["headrace", "vllm", "command"]

PortNumber = Annotated[Whole, Field(ge=1, le=65535)]


class PortSpec(ManifestModel):
    """A port that the command listens on, as the manifest declares it."""

    port: PortNumber
    name: PortName | None = None
    type: Literal["http", "tcp"] = "http"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return {"port": value}
        if isinstance(value, dict) and isinstance(value.get("type"), str):
            return {**value, "type": value["type"].lower()}
        return value

    @property
    def env_name(self) -> str:
        """``PORT_<NAME>``, or ``PORT_<NUMBER>`` for a port without a name."""
        return f"PORT_{(self.name or str(self.port)).upper().replace('-', '_')}"


def _distinct_ports(ports: tuple[PortSpec, ...]) -> tuple[PortSpec, ...]:
    numbers: dict[int, int] = {}
    names: dict[str, int] = {}
    for index, port in enumerate(ports):
        if port.port in numbers:
            raise fault(f"{port.port} is declared twice; keep one", index, "port")
        if port.env_name in names:
            other = ports[names[port.env_name]].name
            raise fault(f"conflicts with {other}: both are ${port.env_name}", index, "name")
        numbers[port.port] = names[port.env_name] = index
    return ports


Ports = Annotated[
    tuple[PortSpec, ...],
    BeforeValidator(lambda value: value, json_schema_input_type=list[int | PortSpec]),
    AfterValidator(_distinct_ports),
]


def find_port(ports: Iterable[PortSpec], wanted: int | str) -> PortSpec | None:
    """By number or by name."""
    return next((port for port in ports if wanted in (port.port, port.name)), None)
