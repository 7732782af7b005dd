"""Values in the shapes of older files and of other platforms, converted to those of the models.

Each function takes the raw value of one key. A value in a shape that it does not know is returned
as it is, and the model refuses it.
"""

from typing import Any

from headrace.control.manifests.parsing.manifest_model import fault

RESOURCE_KEYS = {
    "accelerators": "gpu",
    "nvidia.com/gpu": "gpu",
    "cpu_limit": "cpu",
    "memory_limit": "memory",
    "gpu_limit": "gpu",
}
"""Keys of ``resources`` by the other names that they may have."""

_ARTIFACT_KEYS = {"organization_name": "organization", "project_name": "project"}


def env_mapping(value: Any) -> Any:
    """A list of ``{key, value}`` as a mapping. Raises ValueError for a name that is given twice."""
    if not isinstance(value, list):
        return value
    result: dict[str, Any] = {}
    for item in value:
        if not isinstance(item, dict) or not {"key", "name"} & set(item):
            raise ValueError("must be names with values, or a list of {key: NAME, value: VALUE}")
        name = str(item.get("key", item.get("name")))
        if name in result:
            raise ValueError(f"{name} is given twice; keep one")
        result[name] = {key: part for key, part in item.items() if key not in ("key", "name")}
    return result


def env_value(value: dict[str, Any]) -> dict[str, Any]:
    """Without ``source``; ``secret: true`` beside a value, which only hides it, as ``hidden``."""
    plain = {key: item for key, item in value.items() if key != "source"}
    if str(plain.get("secret")).lower() in ("true", "false") and plain.get("value") is not None:
        plain["hidden"] = str(plain.pop("secret")).lower() == "true"
    if isinstance(plain.get("value"), bool | int | float):
        plain["value"] = str(plain["value"])
    return plain


def resources(value: Any) -> Any:
    """Without the sections ``spec`` and ``requests``, and with the models' key names."""
    if not isinstance(value, dict):
        return value
    plain = dict(value)
    for section in ("spec", "requests"):
        if isinstance(plain.get(section), dict):
            plain |= plain.pop(section)
        elif isinstance(plain.get(section), str):
            plain["name"] = plain.pop(section)
    for other, key in RESOURCE_KEYS.items():
        if other in plain:
            if key in plain:
                raise fault(f"says the same as {key}; keep one", other)
            plain[key] = plain.pop(other)
    return plain


def gpu_count(value: Any) -> Any:
    """The number of ``{quantity: 1, device_type: A100}`` and of ``A100:1``."""
    if isinstance(value, dict):
        value = value.get("quantity", 1)
    return value.rpartition(":")[2] if isinstance(value, str) else value


def artifact(value: dict[str, Any]) -> dict[str, Any]:
    """With the models' key names."""
    return {_ARTIFACT_KEYS.get(key, key): item for key, item in value.items()}
