"""The schemas, held against files that the parsers take and files that they refuse."""

import json
from typing import Any, get_args

import pytest

from headrace.control.manifests.gateway import parse_gateway
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.manifests.parsing.yaml_document import load
from headrace.control.manifests.revision import parse_revision
from headrace.control.manifests.run import parse_run
from headrace.control.manifests.schema import ManifestKind, json_schema

PARSERS = {"revision": parse_revision, "gateway": parse_gateway, "run": parse_run}

TAKEN: list[tuple[ManifestKind, str]] = [
    ("revision", "run: x"),
    ("revision", "model: m\nargs: [a, b]\nengine: vllm"),
    ("revision", "run: [x, {command: y, workdir: /z, wait: a}]\nimage: i\nports: [1, {port: 2}]"),
    ("revision", "run: x\nimage: {url: i, credential_name: c}\nresources: {accelerators: 'A:1'}"),
    ("revision", "run: x\nenv: {A: 1, B: x, C: {secret: s}, D: {value: v, secret: true}}"),
    ("revision", "run: x\nenv: [{key: A, value: v}]"),
    ("revision", "run: x\nautoscaling: {min: 0, max: 2, metric: nvidia.com/gpu, target: 60%}"),
    ("revision", "run: x\nservice: {expose: '8000', autoscaling: {min: 1}, monitoring: []}"),
    ("revision", "run: x\nservice: {healthcheck: {type: http, path: /h}}"),
    ("revision", "run: x\nresources: {spec: {cpu: 500m, memory: 1Gi}}\nreadiness: {timeout: 5m}"),
    ("gateway", "targets: [{number: 1, port: 3000, weight: 100}]\nsticky: user"),
    ("gateway", "targets: [{number: 1, port: api, weight: 100}]\nlimits: {max_body: 1Mi}"),
    ("gateway", "enabled: false\nannotations: {a: b}"),
    ("gateway", "targets: [{number: 1, weight: 100}]\nforward_key: true"),
    ("run", "run: x\ninteractive: {max_runtime: 24h, jupyter: {idle_timeout: 1h}, ports: [1]}"),
    ("run", "run: x\nimport: {/a: ./b, /c: {git: {url: d, ref: e}}, /f: {artifact: g}}"),
    ("run", "run: x\nexport: {/a: artifact://b, /c: {artifact: {name: d}}}\nmax_runtime: 60"),
]

REFUSED: list[tuple[ManifestKind, str]] = [
    ("revision", "message: nothing to start"),
    ("revision", "run: x\nzzz: 1"),
    ("revision", "run: x\nservice: {zzz: 1}"),
    ("revision", "run: x\nautoscaling: {metric: latency, target: 1}"),
    ("revision", "run: x\nautoscaling: {min: -1}"),
    ("revision", "run: x\nports: [{port: 70000}]"),
    ("revision", "run: [{workdir: /x}]"),
    ("gateway", "targets: [{port: 3000, weight: 100}]"),
    ("gateway", "targets: [{number: 1, weight: -1}]"),
    ("run", "run: x\nimport: {/a: {git: {}}}"),
    ("run", "run: x\ninteractive: {zzz: 1}"),
]


@pytest.mark.parametrize(("kind", "text"), TAKEN)
def test_what_is_taken_fits_the_schema(kind: ManifestKind, text: str) -> None:
    PARSERS[kind](text, "f.yaml")
    schema = json_schema(kind)
    assert fits(load(text, "f.yaml").data, schema, schema)


@pytest.mark.parametrize(("kind", "text"), REFUSED)
def test_what_does_not_fit_the_schema_is_refused(kind: ManifestKind, text: str) -> None:
    with pytest.raises(ManifestError):
        PARSERS[kind](text, "f.yaml")
    schema = json_schema(kind)
    assert not fits(load(text, "f.yaml").data, schema, schema)


@pytest.mark.parametrize("kind", get_args(ManifestKind))
def test_the_examples_are_taken(kind: ManifestKind) -> None:
    schema = json_schema(kind)
    assert schema["examples"]
    for example in schema["examples"]:
        PARSERS[kind](json.dumps(example), "f.json")
        assert fits(example, schema, schema)


@pytest.mark.parametrize("kind", get_args(ManifestKind))
def test_every_key_that_is_ignored_says_so(kind: ManifestKind) -> None:
    schema = json_schema(kind)
    if kind == "gateway":
        ignored = schema["properties"]["ingress_class"]
    else:
        ignored = schema["$defs"]["ResourcesSpec"]["properties"]["cluster"]
    assert ignored["description"].startswith("Accepted without effect: ")


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether the value fits, for the keywords that our schemas use."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema and not any(fits(value, inner, root) for inner in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(has_type(value, name) for name in types):
        return False
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        if any(key not in value for key in schema.get("required", [])):
            return False
        return all(
            fits(item, properties[key], root)
            if key in properties
            else others is True or (others is not False and fits(item, others, root))
            for key, item in value.items()
        )
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {}), root) for item in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            value >= schema.get("minimum", value)
            and value <= schema.get("maximum", value)
            and not value <= schema.get("exclusiveMinimum", float("-inf"))
        )
    return True


def has_type(value: Any, name: str) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "null": (type(None),),
        "array": (list,),
        "object": (dict,),
    }
    return isinstance(value, kinds[name]) and (name == "boolean" or not isinstance(value, bool))
