"""Schemas of /tokenize, /detokenize and /tokenizer_info, compatible with vLLM's."""

from typing import Annotated

from pydantic import ConfigDict, Field

from headrace.core.errors import InvalidParameterError
from headrace.server.api.schemas.field_types import TokenIds
from headrace.server.api.schemas.requests import (
    MAX_MESSAGES,
    ChatCompletionRequest,
    Message,
    TemplateVariables,
)
from headrace.server.api.schemas.responses import Response
from headrace.server.api.schemas.tools import MAX_TOOLS, Tool
from headrace.server.http.body_model import ClosedBodyModel

MAX_TEXT_CHARS = 2**21
"""Of a text to tokenize: four times the tokens of the longest contexts, and half a second of a
processor's time."""

NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
"""In /tokenizer_info by these names, as lm-eval reads them."""

_CHAT_FIELDS = (
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
    "tools",
)


class TokenizeRequest(ClosedBodyModel):
    """POST /tokenize: of a prompt, or of messages as the chat template renders them."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
                {"required": ["messages"], "properties": {"messages": {"type": "array"}}},
            ]
        }
    )

    model: str | None = Field(
        None, max_length=1024, description="A model id from /v1/models (default: the first)."
    )
    prompt: str | None = Field(
        None, max_length=MAX_TEXT_CHARS, description="The text; either this or messages."
    )
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)] | None = Field(
        None, description="The messages of a chat completion; either these or prompt."
    )
    add_special_tokens: bool | None = Field(
        None,
        description="Add special tokens such as BOS (default: true for a prompt, false for "
        "messages, whose template adds them).",
    )
    parse_special_tokens: bool | None = Field(
        None,
        description="Encode the text of a special token, such as <|im_end|>, as that token "
        "(default: true for a prompt, false for what messages contain).",
    )
    return_token_strs: bool | None = Field(
        None, description="Return the tokens as texts of the vocabulary too."
    )
    add_generation_prompt: bool | None = Field(
        None, description="With messages: end with the beginning of an answer (default: true)."
    )
    continue_final_message: bool | None = Field(
        None, description="With messages: leave the last message open."
    )
    chat_template_kwargs: TemplateVariables | None = Field(
        None, description="With messages: additional variables of the chat template."
    )
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = Field(
        None, description="With messages: the tools that the prompt describes."
    )

    @property
    def adds_special_tokens(self) -> bool:
        """Whether special tokens such as BOS are added."""
        return self.messages is None if self.add_special_tokens is None else self.add_special_tokens

    def check(self) -> None:
        """Raises InvalidParameterError for invalid combinations."""
        if (self.prompt is None) == (self.messages is None):
            raise InvalidParameterError("prompt", "send either prompt or messages")
        if self.prompt is None:
            self.chat().check()
            return
        for name in _CHAT_FIELDS:
            if getattr(self, name) is not None:
                raise InvalidParameterError(name, "requires messages instead of prompt")

    def chat(self) -> ChatCompletionRequest:
        """The chat completion with these messages, which renders them."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        shared = {
            name: value
            for name, value in values.items()
            if name in ChatCompletionRequest.model_fields
        }
        return ChatCompletionRequest.model_construct(**shared)


class DetokenizeRequest(ClosedBodyModel):
    """POST /detokenize."""

    model: str | None = Field(
        None, max_length=1024, description="A model id from /v1/models (default: the first)."
    )
    tokens: TokenIds = Field(description="Token ids below the size of the vocabulary.")


class Tokenization(Response):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class Detokenization(Response):
    prompt: str


class TokenizerInfo(Response):
    tokenizer_class: str
    model_type: str
    """BPE, Unigram, WordPiece or WordLevel."""
    vocab_size: int
    model_max_length: int
    """The server's maximum context length."""
    bos_token: str | None
    """Text of the token, as in tokenizer_config.json; null if the model has none."""
    eos_token: str | None
    pad_token: str | None
    unk_token: str | None
    special_tokens: dict[str, str]
    """Texts by the names that templates use, such as eos_token."""
    added_special_tokens: dict[str, str]
    """Texts of all special tokens, by id."""
    chat_template: str | None
