"""Environment variables of manifests: literal values, or names of secrets."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from headrace.control.errors import SecretNotFoundError
from headrace.control.manifests.compat import alternative_shapes
from headrace.control.manifests.fields.names import EnvName, Filled
from headrace.control.manifests.fields.ports import fill_ports
from headrace.control.manifests.parsing.manifest_model import ManifestModel
from headrace.control.processes.secret_variables import names_a_secret

HIDDEN = "********"


class EnvValue(ManifestModel):
    """A literal value, or the name of a secret."""

    value: str | None = Field(default=None, repr=False)
    """Literal text: ``1.10`` stays ``1.10``."""
    secret: Filled | None = None
    """Name of a secret, resolved when the command starts."""
    is_hidden: bool = Field(default=False, alias="hidden")
    """Never show the value."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, EnvValue):
            return value
        if value is None:
            raise ValueError('has no value; write "" for an empty one')
        if isinstance(value, bool):
            return {"value": "true" if value else "false"}
        if isinstance(value, str | int | float):
            return {"value": str(value)}
        if not isinstance(value, dict):
            raise ValueError("must be a value, or {secret: NAME}")
        return alternative_shapes.env_value(value)

    @model_validator(mode="after")
    def _check(self) -> "EnvValue":
        if (self.value is None) == (self.secret is None):
            raise ValueError("must be a value, or {secret: NAME}")
        return self


Env = Annotated[
    dict[EnvName, EnvValue],
    BeforeValidator(
        alternative_shapes.env_mapping,
        json_schema_input_type=dict[str, str | int | float | bool | EnvValue]
        | list[dict[str, str | int | float | bool]],
    ),
]


def secret_names(env: Mapping[str, EnvValue]) -> tuple[str, ...]:
    """Names of the secrets that the variables use."""
    return tuple(sorted({value.secret for value in env.values() if value.secret is not None}))


def environment_of(
    env: Mapping[str, EnvValue],
    secrets: Mapping[str, str],
    port_variables: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Values with ``${PORT}`` replaced, and the values of secrets unchanged.

    Raises SecretNotFoundError if a secret does not exist.
    """
    missing = [name for name in secret_names(env) if name not in secrets]
    if missing:
        raise SecretNotFoundError(f"Secret {', '.join(missing)} not found.")
    return {
        name: secrets[item.secret]
        if item.secret is not None
        else fill_ports(str(item.value), port_variables or {})
        for name, item in env.items()
    }


def masked_env(env: Mapping[str, EnvValue]) -> dict[str, str]:
    """For display: hidden values, and values of variables that are likely credentials, masked."""
    shown = {}
    for name, item in env.items():
        if item.secret is not None:
            shown[name] = f"(secret {item.secret})"
        else:
            is_secret = item.is_hidden or names_a_secret(name)
            shown[name] = HIDDEN if is_secret and item.value else str(item.value)
    return shown
