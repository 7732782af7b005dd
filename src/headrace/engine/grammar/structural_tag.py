"""Structural tags: free text in which certain beginnings start a constrained part.

The form is vLLM's and SGLang's: ``{"type": "structural_tag", "triggers": ["<function="],
"structures": [{"begin": "<function=f>", "schema": {…}, "end": "</function>"}]}``.
"""

import json
from typing import Any

_KEYS = frozenset({"type", "structures", "triggers"})
_STRUCTURE_KEYS = frozenset({"begin", "schema", "end"})


def structural_tag_to_lark(tag: Any) -> str:
    """A Lark grammar for llguidance; raises ValueError that names the wrong part."""
    if not isinstance(tag, dict) or tag.get("type") != "structural_tag":
        raise ValueError('must be an object whose type is "structural_tag"')
    if unknown := sorted(tag.keys() - _KEYS):
        raise ValueError(f"has the unknown key {unknown[0]!r}; supported: structures, triggers")
    triggers = _texts(tag.get("triggers"), "triggers")
    structures = tag.get("structures")
    if not isinstance(structures, list) or not structures:
        raise ValueError("structures must be a list of at least one object")
    rules: list[str] = []
    for index, structure in enumerate(structures):
        begin, schema, end = _structure(structure, f"structures[{index}]")
        trigger = max((each for each in triggers if begin.startswith(each)), key=len, default="")
        if not trigger:
            raise ValueError(f"structures[{index}].begin must start with one of the triggers")
        rest = _quoted(begin[len(trigger) :])
        body = f"{rest} %json {json.dumps(schema)} {_quoted(end)}".strip()
        # A lazy lexeme ends the text at the first trigger in it.
        rules.append(f"tag_{index}_trigger[lazy]: TAG_TEXT {_quoted(trigger)}")
        rules.append(f"tag_{index}: tag_{index}_trigger {body}")
    tags = " | ".join(f"tag_{index}" for index in range(len(structures)))
    return "\n".join(
        (
            "%llguidance {}",
            f"start: ({tags})* tag_end",
            "tag_end: TAG_TEXT",
            r"TAG_TEXT: /(.|\n)*/",
            *rules,
            "",
        )
    )


def _structure(structure: Any, path: str) -> tuple[str, Any, str]:
    if not isinstance(structure, dict):
        raise ValueError(f"{path} must be an object")
    if unknown := sorted(structure.keys() - _STRUCTURE_KEYS):
        raise ValueError(f"{path} has the unknown key {unknown[0]!r}")
    begin, schema, end = (structure.get(key) for key in ("begin", "schema", "end"))
    if not isinstance(begin, str) or not begin:
        raise ValueError(f"{path}.begin must be a text")
    if not isinstance(end, str):
        raise ValueError(f"{path}.end must be a text")
    if not isinstance(schema, dict | bool):
        raise ValueError(f"{path}.schema must be a JSON schema")
    return begin, schema, end


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ValueError(f"{name} must be a list of texts")
    return value


def _quoted(text: str) -> str:
    return json.dumps(text) if text else ""
