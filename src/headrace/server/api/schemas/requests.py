"""Schemas of request bodies, compatible with OpenAI's and vLLM's.

They check types and sizes. SamplingParams checks ranges, unsupported_fields.py the fields that are
not supported. Null always means the default.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.sampling_params import (
    MAX_CHOICES,
    MAX_LOGIT_BIASES,
    MAX_STOP_STRING_LENGTH,
    MAX_STOP_STRINGS,
    MAX_STOP_TOKEN_IDS,
)
from headrace.server.api.schemas.field_types import (
    CacheSalt,
    Int32,
    Int64,
    Priority,
    TokenId,
    TokenIds,
)
from headrace.server.api.schemas.prompt_fields import PromptFields
from headrace.server.api.schemas.sampling_fields import SamplingFields
from headrace.server.api.schemas.structured_outputs import StructuredOutputFields
from headrace.server.api.schemas.tools import (
    MAX_CALL_ID_LENGTH,
    MAX_TOOL_CALLS,
    MAX_TOOLS,
    MessageToolCall,
    Tool,
    ToolChoice,
    check_tools,
)
from headrace.server.api.schemas.unsupported_fields import (
    IGNORED,
    REFUSED_IN_MESSAGES,
    Endpoint,
    PartialBodyModel,
    check_fields,
    refused_fields,
)
from headrace.server.http.body_model import (
    MAX_KEY_LENGTH,
    BodyModel,
    ClosedBodyModel,
    check_json_bounds,
)

MAX_MESSAGES = 16_384
MAX_MESSAGE_FIELDS = 32
MAX_CONTENT_PARTS = 4096
MAX_PROMPTS = 1024
"""The same limit as vLLM's."""
MAX_STREAM_INTERVAL = 1024
MAX_DOCUMENTS = 1024
MAX_DOCUMENT_FIELDS = 64
MAX_TEMPLATE_LENGTH = 128 * 1024
"""Characters of a request's chat template."""
MAX_TEMPLATE_VARIABLES = 64

StopString = Annotated[str, Field(max_length=MAX_STOP_STRING_LENGTH)]


def _check_bounds(value: Any) -> Any:
    check_json_bounds(value)
    return value


LogitBias = Annotated[dict[Int64, float], Field(max_length=MAX_LOGIT_BIASES)]
TemplateVariables = Annotated[
    dict[Annotated[str, Field(max_length=MAX_KEY_LENGTH)], Any],
    Field(max_length=MAX_TEMPLATE_VARIABLES),
    AfterValidator(_check_bounds),
]


Documents = Annotated[
    list[
        Annotated[
            dict[Annotated[str, Field(max_length=MAX_KEY_LENGTH)], Any],
            Field(max_length=MAX_DOCUMENT_FIELDS),
        ]
    ],
    Field(max_length=MAX_DOCUMENTS),
    AfterValidator(_check_bounds),
]


class StreamOptions(ClosedBodyModel):
    """What a stream contains besides tokens."""

    include_usage: bool | None = Field(None, description="Send the usage in a last chunk.")
    continuous_usage_stats: bool | None = Field(
        None, description="With include_usage: send the usage so far in every chunk."
    )
    include_obfuscation: bool | None = None


class GenerationRequest(StructuredOutputFields, SamplingFields, PromptFields, PartialBodyModel):
    """The fields that both endpoints share."""

    ignored = IGNORED

    model: str | None = Field(
        None, max_length=1024, description="A model id from /v1/models (default: the first)."
    )
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    max_tokens: Int32 | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: LogitBias | None = None
    seed: Int64 | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stream_interval: int | None = Field(
        None,
        ge=1,
        le=MAX_STREAM_INTERVAL,
        description="Tokens per chunk of a stream, after the first (default: as they come).",
    )

    top_k: Int32 | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MAX_STOP_TOKEN_IDS)] | None = None
    include_stop_str_in_output: bool | None = None
    min_tokens: Int32 | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    cache_salt: CacheSalt = None
    return_token_ids: bool | None = Field(
        None, description="Return the token ids of prompt and output."
    )
    priority: Priority = None
    request_id: str | None = Field(
        None,
        max_length=128,
        pattern=r"^[A-Za-z0-9._:-]+$",
        description="The end of the response's id (default: random). No two running requests may "
        "have the same.",
    )

    def check(self) -> None:
        """Raises InvalidParameterError for unsupported fields and invalid combinations,
        ApiError for fields that no API has."""
        self.check_unsupported()
        if self.stream_options is not None and not self.stream:
            raise InvalidParameterError("stream_options", "requires stream to be true")
        if self.prompt_logprobs is not None and self.stream:
            raise InvalidParameterError("prompt_logprobs", "is not available with stream")
        self.check_truncation()

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def logprobs_wanted(self) -> bool:
        """Overridden: the field differs by endpoint."""
        return False

    @property
    def continuous_usage(self) -> bool:
        options = self.stream_options
        return self.include_usage and options is not None and bool(options.continuous_usage_stats)


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    refused = refused_fields(Endpoint.COMPLETIONS)

    prompt: (
        str
        | TokenIds
        | Annotated[list[str], Field(max_length=MAX_PROMPTS)]
        | Annotated[list[TokenIds], Field(max_length=MAX_PROMPTS)]
    ) = Field(description="A string, a list of strings, token ids, or a list of token id lists.")
    logprobs: int | None = Field(
        None,
        ge=-1,
        lt=2**31,
        description="Log-probabilities of the tokens and of this many most likely ones (-1: all), "
        "up to --max-logprobs.",
    )
    echo: bool | None = Field(
        None, description="Begin with the prompt, and with its log-probabilities if any are asked."
    )
    best_of: Int32 | None = Field(None, description="Must equal n.")

    @property
    def logprobs_wanted(self) -> bool:
        return self.logprobs is not None

    def check(self) -> None:
        super().check()
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise InvalidParameterError(
                "best_of", f"must equal n ({self.n or 1}), got {self.best_of}; remove it"
            )
        if self.logprob_token_ids and self.logprobs is None:
            raise InvalidParameterError("logprob_token_ids", "requires logprobs")


class ContentPart(BodyModel):
    """A part of a message's content; only text is supported."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=64, description='Only "text".')
    text: str | None = None


class Message(BodyModel):
    """One message of a conversation. Unknown fields are passed to the chat template."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"maxProperties": MAX_MESSAGE_FIELDS}
    )

    role: str = Field(max_length=64)
    content: str | Annotated[list[ContentPart], Field(max_length=MAX_CONTENT_PARTS)] | None = Field(
        None, description='A string, or a list of parts {"type": "text", "text": …}.'
    )
    name: str | None = Field(None, max_length=256)
    tool_calls: Annotated[list[MessageToolCall], Field(max_length=MAX_TOOL_CALLS)] | None = Field(
        None, description="The calls of an earlier answer."
    )
    tool_call_id: str | None = Field(
        None, max_length=MAX_CALL_ID_LENGTH, description="With the role tool: the call it answers."
    )

    @model_validator(mode="after")
    def _check_extra(self) -> "Message":
        if len(self.model_fields_set) > MAX_MESSAGE_FIELDS:
            raise ValueError(f"must have at most {MAX_MESSAGE_FIELDS} fields")
        if self.model_extra:
            check_json_bounds(self.model_extra)
        return self

    def check(self, path: str) -> None:
        """path: the message's path, such as ``messages[1].``. Raises InvalidParameterError."""
        check_fields(self.model_extra, REFUSED_IN_MESSAGES, path)


class ChatCompletionRequest(GenerationRequest):
    """POST /v1/chat/completions."""

    refused = refused_fields(Endpoint.CHAT)

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Int32 | None = Field(
        None, description="Maximum number of output tokens (default: up to the context length)."
    )
    max_tokens: Int32 | None = Field(None, description="Deprecated name of max_completion_tokens.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(
        None, ge=-1, lt=2**31, description="-1: all; up to --max-logprobs."
    )

    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = Field(
        None, description="Which tools are called (default: auto, or none without tools)."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may have several calls (default: true)."
    )
    include_reasoning: bool | None = Field(
        None, description="Whether the response has the reasoning (default: true)."
    )
    reasoning_effort: str | None = Field(
        None,
        max_length=64,
        description='A variable of the chat template; "none" also sets enable_thinking to false.',
    )

    chat_template_kwargs: TemplateVariables | None = Field(
        None, description="Additional variables of the chat template."
    )
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = Field(
        None, description="Continue the last message instead of starting a new one."
    )
    echo: bool | None = Field(
        None, description="Begin the answer with the last message, if it is the assistant's."
    )
    documents: Documents | None = Field(
        None, description='Variable "documents" of the chat template.'
    )
    chat_template: str | None = Field(
        None,
        max_length=MAX_TEMPLATE_LENGTH,
        description="Chat template (Jinja) in place of the model's; requires "
        "--trust-request-chat-template.",
    )
    return_prompt_text: bool | None = Field(None, description="Return the rendered prompt.")

    @property
    def logprobs_wanted(self) -> bool:
        return bool(self.logprobs)

    @property
    def wants_reasoning(self) -> bool:
        return self.include_reasoning is not False

    def check(self) -> None:
        super().check()
        for index, message in enumerate(self.messages):
            message.check(f"messages[{index}].")
        check_tools(self.tools or [], self.tool_choice)
        if self.top_logprobs and not self.logprobs:
            raise InvalidParameterError("top_logprobs", "requires logprobs to be true")
        if self.logprob_token_ids and not self.logprobs:
            raise InvalidParameterError("logprob_token_ids", "requires logprobs to be true")
        if self.continue_final_message and self.add_generation_prompt:
            raise InvalidParameterError(
                "continue_final_message", "cannot be true when add_generation_prompt is true"
            )
