"""The schema of POST /v1/responses, compatible with OpenAI's and vLLM's."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import ConfigDict, Field

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.sampling_params import MAX_STOP_STRINGS
from headrace.server.api.responses.input_items import MAX_TYPE_LENGTH, InputItem
from headrace.server.api.schemas.field_types import CacheSalt, Int32, Int64, Priority
from headrace.server.api.schemas.requests import (
    MAX_MESSAGES,
    LogitBias,
    StopString,
    StreamOptions,
    TemplateVariables,
)
from headrace.server.api.schemas.structured_outputs import MAX_NAME_LENGTH, SchemaObject
from headrace.server.api.schemas.tools import (
    MAX_DESCRIPTION_LENGTH,
    MAX_TOOLS,
    JsonObjectValue,
    ToolName,
)
from headrace.server.api.schemas.unsupported_fields import PartialBodyModel, RefusedField
from headrace.server.http.body_model import BodyModel, ClosedBodyModel

MAX_RESPONSE_ID_LENGTH = 256
MAX_METADATA = 16
MAX_INCLUDES = 16
LOGPROBS = "message.output_text.logprobs"
ENCRYPTED_REASONING = "reasoning.encrypted_content"
_INCLUDES = (LOGPROBS, ENCRYPTED_REASONING)

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=MAX_METADATA),
]
"""OpenAI's limits."""

_SEND_INPUT = "send the conversation in input"


class TextFormat(BodyModel):
    """The format of the text."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(None, max_length=MAX_NAME_LENGTH)
    description: str | None = Field(None, max_length=MAX_DESCRIPTION_LENGTH)
    schema_: SchemaObject | None = Field(None, alias="schema")
    strict: bool | None = Field(None, description="The output always obeys the schema.")


class TextOptions(ClosedBodyModel):
    """Options of the text."""

    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ReasoningOptions(ClosedBodyModel):
    """Options of the reasoning."""

    effort: str | None = Field(
        None,
        max_length=64,
        description='A variable of the chat template; "none" also sets enable_thinking to false.',
    )
    summary: Literal["auto"] | None = Field(
        None, description="Reasoning is returned whole; summaries of it are not made."
    )
    generate_summary: Literal["auto"] | None = Field(None, description="Older name of summary.")


class ResponsesTool(BodyModel):
    """A tool; only functions are supported."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=MAX_TYPE_LENGTH, description='Only "function".')
    name: ToolName | None = Field(None, description="Required of a function.")
    description: str | None = Field(None, max_length=MAX_DESCRIPTION_LENGTH)
    parameters: JsonObjectValue | None = Field(
        None, description="A JSON Schema of an object (default: no parameters)."
    )
    strict: bool | None = Field(None, description="Calls always obey the schema (default: false).")


class AllowedTool(BodyModel):
    """A tool by its name."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=MAX_TYPE_LENGTH, description='Only "function".')
    name: ToolName | None = None


class ResponsesToolChoice(BodyModel):
    """One function to call, or several that may be called."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=MAX_TYPE_LENGTH, description="function or allowed_tools.")
    name: ToolName | None = Field(None, description="Of the function.")
    mode: Literal["auto", "required"] | None = Field(None, description="Of allowed_tools.")
    tools: Annotated[list[AllowedTool], Field(min_length=1, max_length=MAX_TOOLS)] | None = Field(
        None, description="Of allowed_tools."
    )


class ResponsesRequest(PartialBodyModel):
    """POST /v1/responses."""

    refused: ClassVar[Mapping[str, RefusedField]] = {
        field.name: field
        for field in (
            RefusedField("background", (False,), "send the request with stream"),
            RefusedField("background_options", ({},)),
            RefusedField("conversation", (), "use previous_response_id"),
            RefusedField("context_management", ([],)),
            RefusedField("prompt", (), _SEND_INPUT),
            RefusedField("moderation"),
            RefusedField("access_programs"),
            RefusedField("image"),
            RefusedField("max_completion_tokens", (), "use max_output_tokens"),
            RefusedField("max_tokens", (), "use max_output_tokens"),
            RefusedField("messages", (), "use input"),
            RefusedField("n", (1,)),
            RefusedField("response_format", (), "use text.format"),
            RefusedField("reasoning_effort", (), "use reasoning.effort"),
        )
    }
    ignored = frozenset(
        {
            *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
            *("safety_identifier", "service_tier", "max_tool_calls"),
        }
    )

    model: str | None = Field(
        None, max_length=1024, description="A model id from /v1/models (default: the first)."
    )
    input: str | Annotated[list[InputItem], Field(max_length=MAX_MESSAGES)] = Field(
        description="The user's message, or a list of items."
    )
    instructions: str | None = Field(
        None, description="A system message before all others, for this response only."
    )
    previous_response_id: str | None = Field(
        None,
        max_length=MAX_RESPONSE_ID_LENGTH,
        description="Continue the conversation of this stored response.",
    )
    store: bool | None = Field(
        None, description="Store the response in the server's memory (default: true)."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: int | None = Field(
        None,
        ge=1,
        lt=2**31,
        description="Maximum number of output tokens, reasoning included (default: up to the "
        "context length).",
    )
    temperature: float | None = None
    top_p: float | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    tools: Annotated[list[ResponsesTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponsesToolChoice | None = Field(
        None, description="Which tools are called (default: auto, or none without tools)."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one response may have several calls (default: true)."
    )
    include: (
        Annotated[
            list[Annotated[str, Field(max_length=MAX_TYPE_LENGTH)]], Field(max_length=MAX_INCLUDES)
        ]
        | None
    ) = Field(None, description=f"{LOGPROBS} and {ENCRYPTED_REASONING}.")
    top_logprobs: int | None = Field(
        None, ge=0, lt=2**31, description=f"Up to --max-logprobs; with {LOGPROBS} in include."
    )
    truncation: Literal["auto", "disabled"] | None = Field(
        None,
        description="auto: leave out the oldest turns of a conversation that is longer than the "
        "context (default: refuse it).",
    )
    metadata: Metadata | None = Field(None, description="Returned with the response.")
    user: str | None = Field(None, max_length=1024, description="Returned with the response.")

    top_k: Int32 | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: LogitBias | None = None
    seed: Int64 | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS)] | None = None
    min_tokens: Int32 | None = None
    ignore_eos: bool | None = None
    cache_salt: CacheSalt = None
    priority: Priority = None
    chat_template_kwargs: TemplateVariables | None = Field(
        None, description="Additional variables of the chat template."
    )

    @property
    def wants_logprobs(self) -> bool:
        return LOGPROBS in (self.include or ())

    def check(self) -> None:
        """Raises InvalidParameterError for unsupported fields and invalid combinations,
        ApiError for fields that no API has."""
        self.check_unsupported()
        if self.stream_options is not None and not self.stream:
            raise InvalidParameterError("stream_options", "requires stream to be true")
        for index, name in enumerate(self.include or ()):
            if name not in _INCLUDES:
                raise InvalidParameterError(
                    f"include[{index}]",
                    f"{name!r} is not supported; only {' and '.join(_INCLUDES)} are",
                )
        if self.top_logprobs and not self.wants_logprobs:
            raise InvalidParameterError("top_logprobs", f"requires {LOGPROBS} in include")
        for index, tool in enumerate(self.tools or ()):
            _check_function(tool, f"tools[{index}]")
        if isinstance(self.tool_choice, ResponsesToolChoice):
            _check_choice(self.tool_choice)
        text_format = None if self.text is None else self.text.format
        if text_format is not None and text_format.type == "json_schema":
            for name, value in (("name", text_format.name), ("schema", text_format.schema_)):
                if value is None:
                    raise InvalidParameterError(f"text.format.{name}", "is required")
            _check_encodable(text_format.schema_, "text.format.schema")


def _check_encodable(value: Any, path: str) -> None:
    """The response repeats it."""
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError as error:  # an integer of more than 64 bits
        raise InvalidParameterError(path, str(error)) from None


def _check_function(tool: ResponsesTool | AllowedTool, path: str) -> None:
    if tool.type != "function":
        raise InvalidParameterError(
            f"{path}.type", f"{tool.type!r} is not supported; only 'function' is"
        )
    if tool.name is None:
        raise InvalidParameterError(f"{path}.name", "is required")


def _check_choice(choice: ResponsesToolChoice) -> None:
    required: Sequence[tuple[str, Any]]
    if choice.type == "function":
        required = (("name", choice.name),)
    elif choice.type == "allowed_tools":
        required = (("mode", choice.mode), ("tools", choice.tools))
    else:
        raise InvalidParameterError(
            "tool_choice.type",
            f"{choice.type!r} is not supported; only 'function' and 'allowed_tools' are",
        )
    for name, value in required:
        if value is None:
            raise InvalidParameterError(f"tool_choice.{name}", "is required")
    for index, tool in enumerate(choice.tools or ()):
        _check_function(tool, f"tool_choice.tools[{index}]")
