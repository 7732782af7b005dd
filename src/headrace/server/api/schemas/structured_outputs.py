"""The fields that constrain the output: OpenAI's, vLLM's, SGLang's and llama.cpp's.

One field of a request may be set. It becomes a `Grammar`, whose errors name the field.
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar, GrammarKind
from headrace.engine.grammar.limits import MAX_CHOICES, MAX_RULES_BYTES, MAX_SOURCE_BYTES
from headrace.engine.grammar.source import check_schema_bounds
from headrace.server.http.body_model import BodyModel
from headrace.server.http.json_body import JsonObject

MAX_PATTERN_LENGTH = 256
MAX_KEYWORDS = 1024
"""Of a schema, at its top level."""
MAX_NAME_LENGTH = 64
"""OpenAI's limit for the name of a schema."""


def _check_bounds(value: Any) -> Any:
    check_schema_bounds(value)
    return value


SchemaObject = Annotated[
    dict[str, Any], Field(max_length=MAX_KEYWORDS), AfterValidator(_check_bounds)
]
SchemaText = Annotated[str, Field(max_length=MAX_SOURCE_BYTES)]
JsonSchema = SchemaObject | SchemaText
"""An object, or the same as JSON text."""
Rules = Annotated[str, Field(max_length=MAX_RULES_BYTES)]
Choices = Annotated[
    list[Annotated[str, Field(max_length=MAX_SOURCE_BYTES)]],
    Field(min_length=1, max_length=MAX_CHOICES),
]
WhitespacePattern = Annotated[str, Field(max_length=MAX_PATTERN_LENGTH)]


class NamedSchema(BodyModel):
    """The json_schema of a response_format."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    name: str = Field(max_length=MAX_NAME_LENGTH)
    description: str | None = Field(None, max_length=MAX_SOURCE_BYTES)
    schema_: SchemaObject | None = Field(
        None, alias="schema", description="A JSON Schema (default: any object)."
    )
    strict: bool | None = Field(None, description="The output always obeys the schema.")


class _ClosedModel(BodyModel):
    """Refuses unknown fields, with one error however many there are."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        if isinstance(values, dict):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            for name, value in values.items():
                if name not in known and value is not None:
                    raise ValueError(f"has the unknown field {name[:64]!r}")
        return values


class Structure(_ClosedModel):
    """One tag of a structural tag."""

    begin: str = Field(min_length=1, max_length=1024)
    schema_: SchemaObject = Field(alias="schema")
    end: str = Field(max_length=1024)


class ResponseFormat(BodyModel):
    """OpenAI's response_format, and vLLM's structural tags in it."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: NamedSchema | None = None
    schema_: SchemaObject | None = Field(
        None, alias="schema", description="llama.cpp's place of a schema, with json_object."
    )
    structures: Annotated[list[Structure], Field(min_length=1, max_length=MAX_CHOICES)] | None = (
        None
    )
    triggers: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=1024)]],
            Field(min_length=1, max_length=MAX_CHOICES),
        ]
        | None
    ) = None


class StructuredOutputs(_ClosedModel):
    """vLLM's structured_outputs: one constraint, and options of JSON."""

    json_: JsonSchema | None = Field(None, alias="json")
    regex: Rules | None = None
    choice: Choices | None = None
    grammar: Rules | None = Field(None, description="Lark, or llama.cpp's GBNF.")
    json_object: bool | None = None
    structural_tag: SchemaText | None = Field(None, description="As JSON text.")
    whitespace_pattern: WhitespacePattern | None = Field(
        None, description="A regular expression for the white space in JSON."
    )
    disable_any_whitespace: bool | None = Field(None, description="No white space in JSON.")


class StructuredOutputFields(BodyModel):
    """Part of the bodies of completions and chat completions."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: JsonSchema | None = Field(None, description="Use structured_outputs.json.")
    guided_regex: Rules | None = Field(None, description="Use structured_outputs.regex.")
    guided_choice: Choices | None = Field(None, description="Use structured_outputs.choice.")
    guided_grammar: Rules | None = Field(None, description="Use structured_outputs.grammar.")
    guided_json_object: bool | None = Field(None, description="Use structured_outputs.json_object.")
    guided_whitespace_pattern: WhitespacePattern | None = Field(
        None, description="Use structured_outputs.whitespace_pattern."
    )
    json_schema: JsonSchema | None = Field(None, description="SGLang's and llama.cpp's name.")
    regex: Rules | None = Field(None, description="SGLang's name.")
    ebnf: Rules | None = Field(None, description="SGLang's name: GBNF or Lark.")
    grammar: Rules | None = Field(None, description="llama.cpp's name: GBNF or Lark.")

    def output_grammar(self) -> Grammar | None:
        """What these fields demand of the output; raises InvalidParameterError if two of them
        are set, or one is incomplete."""
        if self.model_fields_set.isdisjoint(StructuredOutputFields.model_fields):
            return None
        options = _json_options(self)
        found: Grammar | None = None
        for grammar in _grammars(self, options):
            if found is not None:
                raise InvalidParameterError(
                    grammar.param, f"cannot be combined with {found.param}; remove one of them"
                )
            found = grammar
        if options and (found is None or not found.kind.startswith("json")):
            raise InvalidParameterError(_options_param(self), "requires a JSON constraint")
        if found is None and self.structured_outputs is not None:
            raise InvalidParameterError(
                "structured_outputs",
                "must have one of json, regex, choice, grammar, json_object and structural_tag",
            )
        return found


def _grammars(body: StructuredOutputFields, options: JsonObject) -> Iterator[Grammar]:
    """The grammar of each field that is set."""
    if body.response_format is not None:
        yield from _of_response_format(body.response_format)
    outputs = body.structured_outputs or StructuredOutputs.model_validate({})
    schemas: list[tuple[str, JsonObject | str | None]] = [
        ("structured_outputs.json", outputs.json_),
        ("guided_json", body.guided_json),
        ("json_schema", body.json_schema),
    ]
    for param, schema in schemas:
        if schema is not None:
            yield Grammar("json_schema", _schema_text(schema, options, param), (), param)
    objects = [
        ("structured_outputs.json_object", outputs.json_object),
        ("guided_json_object", body.guided_json_object),
    ]
    for param, wanted in objects:
        if wanted:
            yield Grammar("json_object", json.dumps(options) if options else "", (), param)
    choices = [
        ("structured_outputs.choice", outputs.choice),
        ("guided_choice", body.guided_choice),
    ]
    for param, texts in choices:
        if texts is not None:
            yield Grammar("choice", json.dumps(texts), (), param)
    rules: list[tuple[GrammarKind, str, str | None]] = [
        ("regex", "structured_outputs.regex", outputs.regex),
        ("regex", "guided_regex", body.guided_regex),
        ("regex", "regex", body.regex),
        ("lark", "structured_outputs.grammar", outputs.grammar),
        ("lark", "guided_grammar", body.guided_grammar),
        ("lark", "ebnf", body.ebnf),
        ("lark", "grammar", body.grammar or None),
        ("structural_tag", "structured_outputs.structural_tag", outputs.structural_tag),
    ]
    for kind, param, text in rules:
        if text is not None:
            yield Grammar(kind, text, (), param)


def _of_response_format(wanted: ResponseFormat) -> Iterator[Grammar]:
    path = "response_format"
    match wanted.type:
        case "text":
            return
        case "json_object" if wanted.schema_ is not None:
            param = f"{path}.schema"
            yield Grammar("json_schema", _schema_text(wanted.schema_, {}, param), (), param)
        case "json_object":
            yield Grammar("json_object", "", (), path)
        case "json_schema":
            if wanted.json_schema is None:
                raise InvalidParameterError(f"{path}.json_schema", "is required")
            schema = wanted.json_schema.schema_
            if schema is None:
                yield Grammar("json_object", "", (), f"{path}.json_schema")
                return
            param = f"{path}.json_schema.schema"
            yield Grammar("json_schema", _schema_text(schema, {}, param), (), param)
        case "structural_tag":
            for name in ("structures", "triggers"):
                if getattr(wanted, name) is None:
                    raise InvalidParameterError(f"{path}.{name}", "is required")
            tag = wanted.model_dump(by_alias=True, include={"type", "structures", "triggers"})
            yield Grammar("structural_tag", _to_text(tag, path), (), path)


def _schema_text(schema: JsonObject | str, options: JsonObject, param: str) -> str:
    """The schema as JSON text, with the options where llguidance reads them."""
    if not options:
        return schema if isinstance(schema, str) else _to_text(schema, param)
    if isinstance(schema, str):
        try:
            parsed = json.loads(schema)
        except (ValueError, RecursionError):
            return schema  # the compiler reports it
        if not isinstance(parsed, dict):
            return schema
        schema = parsed
    given = schema.get("x-guidance")
    merged = {**given, **options} if isinstance(given, dict) else options
    return _to_text({**schema, "x-guidance": merged}, param)


def _to_text(value: JsonObject, param: str) -> str:
    try:
        return json.dumps(value)
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidParameterError(param, str(error)) from None


def _json_options(body: StructuredOutputFields) -> JsonObject:
    """llguidance's options of JSON."""
    outputs = body.structured_outputs
    options: JsonObject = {}
    if outputs is not None and outputs.disable_any_whitespace:
        options |= {"whitespace_flexible": False, "whitespace_pattern": None}
    pattern = body.guided_whitespace_pattern
    if outputs is not None and outputs.whitespace_pattern is not None:
        pattern = outputs.whitespace_pattern
    if pattern is not None:
        if options:
            raise InvalidParameterError(
                _options_param(body), "cannot be combined with disable_any_whitespace"
            )
        options["whitespace_pattern"] = pattern
    return options


def _options_param(body: StructuredOutputFields) -> str:
    if body.guided_whitespace_pattern is not None:
        return "guided_whitespace_pattern"
    outputs = body.structured_outputs
    if outputs is not None and outputs.whitespace_pattern is not None:
        return "structured_outputs.whitespace_pattern"
    return "structured_outputs.disable_any_whitespace"
