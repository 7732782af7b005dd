"""Schemas of tools, tool choices and tool calls in request bodies.

They check types and sizes; the checks of a request as a whole raise InvalidParameterError with the
path of the field.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from headrace.core.errors import InvalidParameterError
from headrace.engine.grammar.limits import MAX_SCHEMA_DEPTH
from headrace.server.http.body_model import BodyModel, check_json_bounds

MAX_TOOLS = 512
MAX_TOOL_NAME_LENGTH = 128
MAX_DESCRIPTION_LENGTH = 64 * 1024
MAX_TOOL_CALLS = 256
"""Of one message."""
MAX_CALL_ID_LENGTH = 256
MAX_PROPERTIES = 1024
"""Keys of a schema, or of a call's arguments."""

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def _check_bounds(value: Any) -> Any:
    check_json_bounds(value, MAX_SCHEMA_DEPTH)
    return value


ToolName = Annotated[str, Field(max_length=MAX_TOOL_NAME_LENGTH, pattern=r"^[A-Za-z0-9_.\-]+$")]
CallId = Annotated[str, Field(max_length=MAX_CALL_ID_LENGTH)]
JsonObjectValue = Annotated[
    dict[str, Any], Field(max_length=MAX_PROPERTIES), AfterValidator(_check_bounds)
]


class FunctionDefinition(BodyModel):
    """A function that the model may call."""

    model_config = ConfigDict(extra="ignore")

    name: ToolName
    description: str | None = Field(None, max_length=MAX_DESCRIPTION_LENGTH)
    parameters: JsonObjectValue | None = Field(
        None, description="A JSON Schema of an object (default: no parameters)."
    )
    strict: bool | None = Field(None, description="Calls always obey the schema.")

    @property
    def schema_of_parameters(self) -> Mapping[str, Any]:
        if not self.parameters:
            return {"type": "object", "properties": {}, "additionalProperties": False}
        return self.parameters


class Tool(BodyModel):
    """A tool; only functions are supported."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(BodyModel):
    """The name of a function."""

    model_config = ConfigDict(extra="ignore")

    name: ToolName


class NamedTool(BodyModel):
    """A tool by its name."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["function"] = "function"
    function: FunctionName


class AllowedTools(BodyModel):
    """The tools that the model may call, of all of the request."""

    model_config = ConfigDict(extra="ignore")

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS)]


class ToolChoiceObject(BodyModel):
    """One tool to call, or several that may be called."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["function", "allowed_tools"]
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None


ToolChoice = Literal["none", "auto", "required"] | ToolChoiceObject


class CalledFunction(BodyModel):
    """The function of an earlier call."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(max_length=MAX_TOOL_NAME_LENGTH)
    arguments: str | JsonObjectValue | None = Field(None, description="JSON text.")


class MessageToolCall(BodyModel):
    """A call in a message of the assistant."""

    model_config = ConfigDict(extra="ignore")

    id: CallId | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


def check_tools(tools: Sequence[Tool], tool_choice: ToolChoice | None) -> None:
    """Raises InvalidParameterError for tools of the same name, parameters that are no schema of an
    object, and choices of unknown tools."""
    names: set[str] = set()
    for index, tool in enumerate(tools):
        at = f"tools[{index}].function"
        name = tool.function.name
        if name in names:
            raise InvalidParameterError(f"{at}.name", f"{name!r} is the name of another tool")
        names.add(name)
        _check_parameters(f"{at}.parameters", tool.function.parameters)
    if tool_choice is None or tool_choice in ("none", "auto"):
        return
    if not tools:
        raise InvalidParameterError("tool_choice", "requires tools")
    if isinstance(tool_choice, ToolChoiceObject):
        _check_chosen(tool_choice, names)


def _check_chosen(choice: ToolChoiceObject, names: set[str]) -> None:
    if choice.type == "function":
        if choice.function is None:
            raise InvalidParameterError("tool_choice.function", "is required")
        chosen = {"tool_choice.function.name": choice.function.name}
    else:
        if choice.allowed_tools is None:
            raise InvalidParameterError("tool_choice.allowed_tools", "is required")
        chosen = {
            f"tool_choice.allowed_tools.tools[{index}].function.name": tool.function.name
            for index, tool in enumerate(choice.allowed_tools.tools)
        }
    for param, name in chosen.items():
        if name not in names:
            raise InvalidParameterError(param, f"{name!r} is not the name of one of the tools")


def _check_parameters(param: str, schema: Mapping[str, Any] | None) -> None:
    """Checks what every use of a schema relies on. Constrained calls check all of it."""
    if not schema:
        return
    if schema.get("type", "object") != "object":
        raise InvalidParameterError(f"{param}.type", 'must be "object"')
    _check_schema(param, schema)


def _check_schema(param: str, schema: Any) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise InvalidParameterError(param, "must be a JSON Schema: an object, true or false")
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind is not None and not (isinstance(kind, str) and kind in _TYPES):
            raise InvalidParameterError(
                f"{param}.type", f"must be one of {', '.join(sorted(_TYPES))}"
            )
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise InvalidParameterError(f"{param}.properties", "must be an object")
    for name, each in properties.items():
        _check_schema(f"{param}.properties.{name}", each)
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
        raise InvalidParameterError(f"{param}.required", "must be a list of strings")
    if "items" in schema and not isinstance(schema["items"], list):
        _check_schema(f"{param}.items", schema["items"])
