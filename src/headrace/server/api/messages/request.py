"""The schemas of POST /v1/messages and /v1/messages/count_tokens, compatible with Anthropic's."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.sampling_params import MAX_STOP_STRINGS
from headrace.server.api.schemas.field_types import CacheSalt, Int32, Priority
from headrace.server.api.schemas.requests import (
    MAX_CONTENT_PARTS,
    MAX_MESSAGES,
    StopString,
    TemplateVariables,
)
from headrace.server.api.schemas.structured_outputs import SchemaObject
from headrace.server.api.schemas.tools import (
    MAX_CALL_ID_LENGTH,
    MAX_DESCRIPTION_LENGTH,
    MAX_TOOL_NAME_LENGTH,
    MAX_TOOLS,
    JsonObjectValue,
    ToolName,
)
from headrace.server.api.schemas.unsupported_fields import PartialBodyModel, RefusedField
from headrace.server.http.body_model import BodyModel, ClosedBodyModel

MAX_TYPE_LENGTH = 64
_REQUIRED = {
    "text": ("text",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
    "thinking": ("thinking",),
}
"""The fields of each type of block."""
_BLOCKS_OF_ROLES = {
    "user": ("text", "tool_result"),
    "assistant": ("text", "thinking", "tool_use"),
    "system": ("text",),
}


class TextBlock(BodyModel):
    """A block of text in a system prompt or a tool's result; other types are not supported."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=MAX_TYPE_LENGTH, description='Only "text".')
    text: str | None = None

    def check(self, path: str) -> None:
        if self.type != "text":
            raise InvalidParameterError(
                f"{path}.type", f"{self.type!r} is not supported; only 'text' is"
            )
        if self.text is None:
            raise InvalidParameterError(f"{path}.text", "is required")


TextBlocks = Annotated[list[TextBlock], Field(max_length=MAX_CONTENT_PARTS)]


class MessageBlock(BodyModel):
    """A block of a message's content."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(
        max_length=MAX_TYPE_LENGTH,
        description="text; of the assistant thinking and tool_use too, of the user tool_result.",
    )
    text: str | None = None
    thinking: str | None = None
    id: str | None = Field(None, max_length=MAX_CALL_ID_LENGTH, description="Of a tool_use.")
    name: str | None = Field(None, max_length=MAX_TOOL_NAME_LENGTH, description="Of a tool_use.")
    input: JsonObjectValue | None = Field(None, description="Of a tool_use.")
    tool_use_id: str | None = Field(
        None, max_length=MAX_CALL_ID_LENGTH, description="Of a tool_result."
    )
    content: str | TextBlocks | None = Field(None, description="Of a tool_result.")
    is_error: bool | None = Field(None, description="Of a tool_result.")

    def check(self, path: str, supported: tuple[str, ...]) -> None:
        """supported: the types that a message of this role may have."""
        if self.type not in supported:
            raise InvalidParameterError(
                f"{path}.type",
                f"{self.type!r} is not supported; only {', '.join(supported)} here",
            )
        for name in _REQUIRED[self.type]:
            if getattr(self, name) is None:
                raise InvalidParameterError(f"{path}.{name}", "is required")
        if isinstance(self.content, list):
            for index, block in enumerate(self.content):
                block.check(f"{path}.content[{index}]")


class InputMessage(BodyModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[MessageBlock], Field(max_length=MAX_CONTENT_PARTS)]

    def check(self, path: str) -> None:
        if isinstance(self.content, list):
            for index, block in enumerate(self.content):
                block.check(f"{path}.content[{index}]", _BLOCKS_OF_ROLES[self.role])


class MessagesTool(BodyModel):
    """A tool; only those that the client runs are supported."""

    model_config = ConfigDict(extra="ignore")

    type: str | None = Field(None, max_length=MAX_TYPE_LENGTH, description='Only "custom".')
    name: ToolName
    description: str | None = Field(None, max_length=MAX_DESCRIPTION_LENGTH)
    input_schema: JsonObjectValue | None = Field(None, description="Required of a custom tool.")
    strict: bool | None = Field(None, description="Calls always obey the schema (default: false).")


class MessagesToolChoice(ClosedBodyModel):
    """Which tools are called."""

    type: Literal["auto", "any", "tool", "none"]
    name: ToolName | None = Field(None, description="With the type tool.")
    disable_parallel_tool_use: bool | None = Field(None, description="At most one call.")


class Thinking(ClosedBodyModel):
    """Whether the model reasons before its answer."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Int32 | None = None
    display: Literal["summarized", "omitted"] | None = Field(
        None, description="omitted: without the blocks of thinking."
    )


class OutputFormat(ClosedBodyModel):
    """The format of the text."""

    model_config = ConfigDict(protected_namespaces=())

    type: Literal["json_schema"]
    schema_: SchemaObject = Field(alias="schema")


class OutputConfig(ClosedBodyModel):
    """Options of the output."""

    effort: str | None = Field(
        None, max_length=64, description="The variable reasoning_effort of the chat template."
    )
    format: OutputFormat | None = Field(None, description="The text always obeys the schema.")


class ConversationRequest(PartialBodyModel):
    """The fields of which a prompt is made."""

    refused: ClassVar[Mapping[str, RefusedField]] = {
        field.name: field
        for field in (
            RefusedField("container"),
            RefusedField("context_management", ({},)),
            RefusedField("diagnostics"),
            RefusedField("mcp_servers", ([],)),
            RefusedField("speed", ("standard",)),
            RefusedField("inference_geo"),
        )
    }
    ignored: ClassVar[frozenset[str]] = frozenset({"cache_control"})

    model: str | None = Field(
        None, max_length=1024, description="A model id from /v1/models (default: the first)."
    )
    messages: Annotated[list[InputMessage], Field(min_length=1, max_length=MAX_MESSAGES)] = Field(
        description="A last message of the assistant is continued."
    )
    system: str | TextBlocks | None = None
    tools: Annotated[list[MessagesTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: MessagesToolChoice | None = None
    thinking: Thinking | None = Field(
        None,
        description="Sets enable_thinking of the chat template (default: as the template does).",
    )
    output_config: OutputConfig | None = None
    chat_template_kwargs: TemplateVariables | None = Field(
        None, description="Additional variables of the chat template."
    )

    def check(self) -> None:
        """Raises InvalidParameterError for unsupported fields and invalid combinations,
        ApiError for fields that no API has."""
        self.check_unsupported()
        for param, message in self._parts():
            raise InvalidParameterError(param, message)
        if isinstance(self.system, list):
            for index, block in enumerate(self.system):
                block.check(f"system[{index}]")
        for index, turn in enumerate(self.messages):
            turn.check(f"messages[{index}]")

    def _parts(self) -> Iterator[tuple[str, str]]:
        """What is wrong with tools, their choice and thinking."""
        for index, tool in enumerate(self.tools or ()):
            if tool.type not in (None, "custom"):
                yield f"tools[{index}].type", f"{tool.type!r} is not supported; only 'custom' is"
            if tool.input_schema is None:
                yield f"tools[{index}].input_schema", "is required"
        choice = self.tool_choice
        if choice is not None and choice.type == "tool" and choice.name is None:
            yield "tool_choice.name", "is required"
        thinking = self.thinking
        if thinking is not None and thinking.type == "enabled" and thinking.budget_tokens is None:
            yield "thinking.budget_tokens", "is required"


class CountTokensRequest(ConversationRequest):
    """POST /v1/messages/count_tokens."""


class MessagesRequest(ConversationRequest):
    """POST /v1/messages."""

    ignored: ClassVar[frozenset[str]] = ConversationRequest.ignored | {
        "metadata",
        "service_tier",
    }

    max_tokens: Int32 = Field(
        description="Maximum number of output tokens, thinking included. More than the context has "
        "room for is lowered."
    )
    stop_sequences: Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS)] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Int32 | None = None
    cache_salt: CacheSalt = None
    priority: Priority = None
