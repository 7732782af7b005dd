"""The autoscaling section of a revision."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from headrace.control.manifests.fields.quantities import Seconds, Whole, parse_duration
from headrace.control.manifests.parsing.manifest_model import ManifestModel, fault

Metric = Literal["cpu", "memory", "gpu", "concurrency", "rps", "queue_time", "kv_cache", "ttft"]

MAX_NUM_REPLICAS = 1000
"""Of one revision."""

PERCENT_METRICS: frozenset[str] = frozenset({"cpu", "memory", "gpu", "kv_cache"})
DURATION_METRICS: frozenset[str] = frozenset({"queue_time", "ttft"})

_OTHER_NAMES = {"nvidia.com/gpu": "gpu", "mem": "memory", "kv_cache_usage": "kv_cache"}


def _metric(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name = value.strip().lower()
    return _OTHER_NAMES.get(name, name)


class AutoscalingSpec(ManifestModel):
    """The range of the number of replicas, and the target of each."""

    min: Annotated[Whole, Field(ge=0, le=MAX_NUM_REPLICAS)] = 1
    """Minimum number of replicas; 0 scales to zero without traffic."""
    max: Annotated[Whole, Field(ge=1, le=MAX_NUM_REPLICAS)] = Field(
        default_factory=lambda data: max(1, data.get("min", 1))
    )
    """Maximum number of replicas."""
    metric: Annotated[
        Metric, BeforeValidator(_metric, json_schema_input_type=Metric | Literal["nvidia.com/gpu"])
    ] = "cpu"
    """The metric that is compared with the target."""
    target: Annotated[
        float, BeforeValidator(lambda value: value, json_schema_input_type=float | str)
    ] = 60.0
    """Per replica: percent for cpu, memory, gpu and kv_cache; open requests for concurrency;
    requests per second for rps; seconds for queue_time and ttft."""
    scale_up_window_s: Seconds | None = Field(default=None, alias="scale_up_window")
    """How long a higher number must be recommended before scaling up."""
    scale_down_window_s: Seconds | None = Field(default=None, alias="scale_down_window")
    """How long a lower number must be recommended before scaling down."""
    idle_timeout_s: Seconds | None = Field(default=None, alias="idle_timeout")
    """With ``min: 0``: time without requests before scaling to zero."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        metric = _metric(value.get("metric"))
        if metric is not None and "target" not in value:
            raise fault(f"is missing: set the {metric} per replica", "target")
        target = value.get("target")
        if isinstance(target, bool):
            raise fault("must be a number", "target")
        if metric in DURATION_METRICS and isinstance(target, str):
            try:
                return {**value, "target": parse_duration(target)}
            except ValueError as error:
                raise fault(str(error), "target") from None
        if isinstance(target, str):  # such as 60%
            return {**value, "target": target.strip().removesuffix("%")}
        return value

    @model_validator(mode="after")
    def _check(self) -> "AutoscalingSpec":
        if self.min > self.max:
            raise fault(f"is {self.min}, more than max ({self.max})", "min")
        if self.metric in PERCENT_METRICS and not 1 <= self.target <= 100:
            raise fault(
                f"is a percentage of {self.metric}: 1 to 100, not {self.target:g}", "target"
            )
        if not 0 < self.target < float("inf"):
            raise fault("must be more than 0", "target")
        return self
