"""The bodies of requests, as OpenAI's and vLLM's clients write them.

Knows types and which fields are not supported; ranges are checked by SamplingParams. Fields that
nobody here knows are ignored, and null always means the default.
"""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from headrace.core.errors import InvalidParameterError
from headrace.core.sampling_params import MAX_LOGPROBS
from headrace.server.fail_fast import FailFastModel

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""What has no range of its own must still fit into a message."""
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class StreamOptions(FailFastModel):
    """What a stream tells besides its tokens."""

    include_usage: bool | None = Field(None, description="End with a chunk that has the usage.")
    continuous_usage_stats: bool | None = Field(
        None, description="Give the usage so far with each chunk."
    )


class GenerationRequest(FailFastModel):
    """What completions and chat completions have in common."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model: str | None = Field(None, description="A name from /v1/models; null takes the first.")
    n: int | None = None
    max_tokens: Int32 | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[TokenId, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(None, description="Accepted and ignored.")

    top_k: Int32 | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[TokenId] | None = None
    include_stop_str_in_output: bool | None = None
    min_tokens: Int32 | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    add_special_tokens: bool | None = Field(
        None,
        description="Whether the tokenizer adds tokens such as BOS to the text; default true for "
        "completions, false for chat, where the template writes them.",
    )
    cache_salt: str | None = Field(
        None, description="Share cached prefixes only with requests of the same salt."
    )
    return_token_ids: bool | None = Field(
        None, description="Give the token ids of prompt and output too."
    )
    priority: int | None = Field(None, description="Accepted and ignored.")

    prompt_logprobs: int | None = Field(None, description="Not supported yet.")
    use_beam_search: bool | None = Field(None, description="Not supported yet.")
    structured_outputs: Any = Field(None, description="Not supported yet.")
    guided_json: Any = Field(None, description="Not supported yet.")
    guided_regex: Any = Field(None, description="Not supported yet.")
    guided_choice: Any = Field(None, description="Not supported yet.")
    guided_grammar: Any = Field(None, description="Not supported yet.")
    response_format: dict[str, Any] | None = Field(
        None, description='Only {"type": "text"} is supported yet.'
    )

    def check(self) -> None:
        """Refuse what would otherwise be silently ignored; raises InvalidParameterError."""
        if self.response_format and self.response_format.get("type") != "text":
            raise _unsupported("response_format", ' (only {"type": "text"})')
        for name in _UNSUPPORTED:
            if getattr(self, name) not in (None, False):
                raise _unsupported(name)
        if self.stream_options is not None and not self.stream:
            raise InvalidParameterError("stream_options", "is only allowed when stream is true")

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def logprobs_wanted(self) -> bool:
        """Each endpoint has its own field for it."""
        return False

    @property
    def continuous_usage(self) -> bool:
        options = self.stream_options
        return options is not None and bool(options.continuous_usage_stats)


class CompletionRequest(GenerationRequest):
    """POST /v1/completions."""

    prompt: str | list[int] | list[str] | list[list[int]] = Field(
        description="Text, texts, token ids, or lists of token ids."
    )
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = Field(None, description="Only the value of n.")
    suffix: str | None = Field(None, description="Not supported.")

    @property
    def logprobs_wanted(self) -> bool:
        return self.logprobs is not None

    def check(self) -> None:
        super().check()
        if self.suffix:
            raise InvalidParameterError("suffix", "is not supported; this server does not infill")
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise InvalidParameterError(
                "best_of", f"must equal n ({self.n or 1}) or be left out, got {self.best_of}"
            )
        if self.echo and self.logprobs is not None:
            raise InvalidParameterError(
                "echo", "together with logprobs is not supported yet; ask for one of them"
            )


class Message(FailFastModel):
    """One message of a conversation; what a template might use of it passes through."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[dict[str, Any]] | None = Field(
        None, description='Text, or a list of parts {"type": "text", "text": …}.'
    )
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = Field(None, description="Not supported yet.")


class ChatCompletionRequest(GenerationRequest):
    """POST /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: Int32 | None = Field(
        None, description="Output tokens at most; default: what the context leaves."
    )
    max_tokens: Int32 | None = Field(None, description="The older name of max_completion_tokens.")
    logprobs: bool | None = None
    top_logprobs: int | None = None

    chat_template: str | None = Field(None, description="Not supported; see --chat-template.")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="More variables for the chat template."
    )
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = Field(
        None, description="Go on with the last message instead of answering it."
    )

    tools: list[dict[str, Any]] | None = Field(None, description="Not supported yet.")
    tool_choice: str | dict[str, Any] | None = Field(None, description='Only "none" yet.')
    functions: list[dict[str, Any]] | None = Field(None, description="Not supported yet.")
    function_call: str | dict[str, Any] | None = Field(None, description='Only "none" yet.')
    modalities: list[str] | None = Field(None, description='Only ["text"].')
    audio: Any = Field(None, description="Not supported.")

    @property
    def logprobs_wanted(self) -> bool:
        return bool(self.logprobs)

    def check(self) -> None:
        super().check()
        for name in ("tools", "functions", "audio", "chat_template"):
            if getattr(self, name):
                raise _unsupported(name)
        for name in ("tool_choice", "function_call"):
            if getattr(self, name) not in (None, "none"):
                raise _unsupported(name, ' (only "none")')
        if self.modalities is not None and self.modalities != ["text"]:
            raise _unsupported("modalities", ' (only ["text"])')
        if not 0 <= (self.top_logprobs or 0) <= MAX_LOGPROBS:
            raise InvalidParameterError(
                "top_logprobs", f"must be between 0 and {MAX_LOGPROBS}, got {self.top_logprobs}"
            )
        if self.top_logprobs and not self.logprobs:
            raise InvalidParameterError("top_logprobs", "is only allowed when logprobs is true")
        if self.continue_final_message and self.add_generation_prompt:
            raise InvalidParameterError(
                "continue_final_message", "cannot be true when add_generation_prompt is true"
            )


_UNSUPPORTED = (
    "prompt_logprobs",
    "use_beam_search",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
)


def _unsupported(param: str, instead: str = "") -> InvalidParameterError:
    return InvalidParameterError(param, f"is not supported yet{instead}; leave it out")
