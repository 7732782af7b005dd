"""Manifests as text."""

from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]


def to_yaml(manifest: Mapping[str, Any]) -> str:
    """Keys stay in their order."""
    text: str = yaml.dump(dict(manifest), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def spec_yaml(spec: Mapping[str, Any]) -> str:
    """The spec of a view, without keys that are not set."""
    return to_yaml(_without_empty(spec))


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes text of many lines as a block."""

    def represent_str(self, text: str) -> Any:
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def _without_empty(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_without_empty(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    shorter = {key: _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in shorter.items() if item not in (None, "", [], {}, ())}
