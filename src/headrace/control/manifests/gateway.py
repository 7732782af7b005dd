"""The manifest of a gateway. Whether its revisions and ports exist is checked by `operations`."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from headrace.control.manifests.fields.names import HeaderName, PortName
from headrace.control.manifests.fields.quantities import PositiveBytes, PositiveSeconds, Whole
from headrace.control.manifests.fields.workload import PortNumber
from headrace.control.manifests.parsing.manifest_model import (
    ManifestModel,
    NoEffect,
    fault,
    key_of,
)
from headrace.control.manifests.parsing.problems import Path
from headrace.control.manifests.parsing.validate import ManifestDocument, read
from headrace.control.manifests.parsing.yaml_document import load
from headrace.core.gateway.routes import Limits, Sticky

_OWN_GATEWAY = "Headrace has its own gateway"

_PLACEHOLDER_REASONS = {
    "number": "set the revision's number; see `headrace revision list --service ...`",
    "port": "set the number or the name of one of the revision's ports",
    "weight": "set the percentage of the traffic",
}


def _weight(value: Any) -> Any:
    if isinstance(value, float) or (isinstance(value, str) and value.strip().endswith("%")):
        raise ValueError("must be a whole number from 0 to 100, without a percent sign")
    return value


def _target_port(value: Any) -> int | str:
    if isinstance(value, str) and not value.strip().isdigit():
        return _PORT_NAME.validate_python(value)
    return _PORT_NUMBER.validate_python(value)


_PORT_NAME: TypeAdapter[str] = TypeAdapter(PortName)
_PORT_NUMBER: TypeAdapter[int] = TypeAdapter(PortNumber)

TargetPort = Annotated[int | str, BeforeValidator(_target_port)]


class TargetSpec(ManifestModel):
    """One revision's share of the traffic."""

    number: Annotated[Whole, Field(ge=1, le=999_999)]
    """Of the revision."""
    port: TargetPort | None = None
    """Number or name of one of its ports. Default: the exposed port."""
    weight: Annotated[
        Whole, BeforeValidator(_weight, json_schema_input_type=int), Field(ge=0, le=100)
    ]
    """Percent of the traffic."""


class StickySpec(ManifestModel):
    """Requests with the same key go to the same revision. Exactly one of the fields is set."""

    header: HeaderName | None = None
    """The header whose value is the key."""
    user: bool = False
    """The key is the request's ``user``."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return {"user": True} if value == "user" else value

    @model_validator(mode="after")
    def _check(self) -> "StickySpec":
        if (self.header is None) == (not self.user):
            raise ValueError("must be `user`, or {header: NAME}")
        return self


class LimitsSpec(ManifestModel):
    """Limits of a service at the gateway; missing ones have the gateway's defaults."""

    request_timeout_s: PositiveSeconds | None = Field(default=None, alias="request_timeout")
    """Maximum duration of a request, its stream included."""
    idle_timeout_s: PositiveSeconds | None = Field(default=None, alias="idle_timeout")
    """Maximum time between two chunks of a response, and before the first."""
    max_body_bytes: PositiveBytes | None = Field(default=None, alias="max_body")
    """Maximum size of a request body."""
    max_concurrency: Annotated[Whole, Field(ge=1)] | None = None
    """Maximum number of open requests at replicas; more are queued."""
    max_queue: Annotated[Whole, Field(ge=0)] | None = None
    """Maximum queue length; beyond it 429."""
    queue_timeout_s: PositiveSeconds | None = Field(default=None, alias="queue_timeout")
    """Maximum time in the queue; beyond it 503."""


class GatewaySpec(ManifestModel):
    """The shares of a service's traffic by revision, and its limits."""

    enabled: bool = True
    """Whether the service accepts requests."""
    targets: tuple[TargetSpec, ...] = ()
    sticky: StickySpec | None = None
    limits: LimitsSpec = LimitsSpec()
    forward_key: bool = False
    """Whether replicas get the header with the service's API key too."""

    ingress_class: Annotated[str | None, NoEffect(_OWN_GATEWAY)] = None
    ingress_host: Annotated[str | None, NoEffect(_OWN_GATEWAY)] = None
    annotations: Annotated[dict[str, str] | None, NoEffect(_OWN_GATEWAY)] = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {**value, "targets": value.get("targets") or (), "limits": value.get("limits") or {}}

    @model_validator(mode="after")
    def _check(self) -> "GatewaySpec":
        firsts: dict[tuple[int, int | str | None], int] = {}
        for index, target in enumerate(self.targets):
            key = (target.number, target.port)
            if key in firsts:
                reason = f"duplicates targets[{firsts[key]}]; keep one"
                raise fault(reason, "targets", index, "number")
            firsts[key] = index
        if not self.enabled:
            return self
        if not self.targets:
            raise fault("must name at least one revision while the gateway is enabled", "targets")
        total = sum(target.weight for target in self.targets)
        if total != 100:
            raise fault(f"weights sum to {total}, they must sum to 100", "targets", 0, "weight")
        return self


def parse_gateway(text: str, file: str) -> ManifestDocument[GatewaySpec]:
    """Raises ManifestError."""
    return read(load(text, file, _is_text), GatewaySpec, _PLACEHOLDER_REASONS)


def route_limits(limits: LimitsSpec) -> Limits:
    """In the route table's format."""
    given = {
        "request_timeout_s": limits.request_timeout_s,
        "idle_timeout_s": limits.idle_timeout_s,
        "max_body_bytes": limits.max_body_bytes,
        "max_concurrency": limits.max_concurrency,
        "max_queue": limits.max_queue,
        "queue_timeout_s": limits.queue_timeout_s,
    }
    return Limits(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def route_sticky(sticky: StickySpec | None) -> Sticky | None:
    """In the route table's format."""
    return None if sticky is None else Sticky(header=sticky.header, user=sticky.user)


def options_manifest(options: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's keys for options in the route table's format."""
    manifest: dict[str, Any] = {}
    sticky = options.get("sticky")
    if sticky:
        header = sticky.get("header")
        manifest["sticky"] = "user" if header is None else {"header": header}
    limits = options.get("limits")
    if limits:
        keys = {name: key_of(name, field) for name, field in LimitsSpec.model_fields.items()}
        manifest["limits"] = {keys[name]: value for name, value in limits.items()}
    if options.get("forward_key"):
        manifest["forward_key"] = True
    return manifest


def _is_text(path: Path) -> bool:
    return len(path) > 0 and path[0] in ("annotations", "ingress_class", "ingress_host")
