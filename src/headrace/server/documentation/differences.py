"""How supported fields differ from OpenAI's, vLLM's and Anthropic's, and why others are not
supported.

/docs and docs/api.md list them.
"""

from collections.abc import Mapping

from pydantic import BaseModel

from headrace.server.api.messages.request import (
    ConversationRequest,
    MessageBlock,
    Thinking,
)
from headrace.server.api.responses.input_items import ItemPart
from headrace.server.api.responses.request import (
    ReasoningOptions,
    ResponsesRequest,
    ResponsesTool,
)
from headrace.server.api.schemas.batch import BatchChatCompletionRequest
from headrace.server.api.schemas.requests import (
    ChatCompletionRequest,
    CompletionRequest,
    ContentPart,
    Message,
    StreamOptions,
)

DIFFERENCES: Mapping[tuple[type[BaseModel], str], str] = {
    (CompletionRequest, "best_of"): "OpenAI's picks the best of more choices.",
    (ChatCompletionRequest, "max_tokens"): "Still accepted, with the meaning of its new name.",
    (BatchChatCompletionRequest, "n"): "Only 1.",
    (BatchChatCompletionRequest, "stream"): "Only false.",
    (Message, "role"): "`developer` is rendered as `system`, `function` as `tool`.",
    (ContentPart, "type"): "Images, audio, video and files are not supported.",
    (ResponsesRequest, "tools"): "OpenAI's built-in tools, such as web_search, are not supported.",
    (ResponsesRequest, "include"): "Reasoning is not encrypted: it is in the content of its items.",
    (ResponsesRequest, "max_output_tokens"): "More than the context has room for is lowered.",
    (ResponsesRequest, "store"): "In the memory of this server, for the API key that made it.",
    (ResponsesTool, "strict"): "OpenAI's default is true.",
    (ReasoningOptions, "summary"): "OpenAI's are summaries.",
    (ItemPart, "type"): "Images, audio and files are not supported.",
    (ConversationRequest, "tools"): "Tools that Anthropic's API runs are not supported.",
    (MessageBlock, "type"): "Images, documents and search results are not supported.",
    (Thinking, "budget_tokens"): "Does not bound the thinking; max_tokens does.",
    (StreamOptions, "include_obfuscation"): "Changes nothing: no padding is sent.",
}
"""By the model that declares the field, or whose subclasses share the difference."""

_BEAMS = "Beam search is not implemented"
_CODE = "It would run code that comes with a request"
_TEXT = "Models have text as input and output only"
_HOSTED = "A service of OpenAI's platform"
_OTHER_NAME = "Another name of a supported field"
_REMOTE = "A service of Anthropic's platform"
_TRANSFER = "Servers do not exchange KV caches"
_INTERNALS = "The engine does not return it"
_SAMPLER = "A sampler of llama.cpp's that the engine does not have"

REASONS: Mapping[str, str] = {
    **dict.fromkeys(("use_beam_search", "length_penalty", "early_stopping"), _BEAMS),
    **dict.fromkeys(("logits_processors", "custom_logit_processor", "custom_params"), _CODE),
    **dict.fromkeys(("modalities", "audio", "media_io_kwargs", "mm_processor_kwargs"), _TEXT),
    **dict.fromkeys(("moderation", "web_search_options", "verbosity"), _HOSTED),
    **dict.fromkeys(("kv_transfer_params", "ec_transfer_params"), _TRANSFER),
    **dict.fromkeys(("return_hidden_states", "return_routed_experts"), _INTERNALS),
    **dict.fromkeys(("samplers", "dynatemp_range", "typical_p", "top_n_sigma"), _SAMPLER),
    **dict.fromkeys(("xtc_probability", "mirostat", "min_keep", "dry_multiplier"), _SAMPLER),
    **dict.fromkeys(("lora", "lora_path"), "Adapters have names, which are models"),
    **dict.fromkeys(("conversation", "prompt", "access_programs", "context_management"), _HOSTED),
    **dict.fromkeys(("container", "mcp_servers", "inference_geo", "speed", "diagnostics"), _REMOTE),
    **dict.fromkeys(("background", "background_options"), "Nothing runs without its client"),
    "image": _TEXT,
    "suffix": "Fill-in-the-middle needs a template that models do not come with",
    "prompt_embeds": "Prompts are text or token ids",
    "session_params": "Every request is complete by itself",
    **dict.fromkeys(("messages", "response_format", "max_tokens"), _OTHER_NAME),
    "max_completion_tokens": _OTHER_NAME,
    "max_new_tokens": _OTHER_NAME,
    "n_predict": _OTHER_NAME,
    "n_cmpl": _OTHER_NAME,
    "repeat_penalty": _OTHER_NAME,
    "extra_key": _OTHER_NAME,
    "no_stop_trim": _OTHER_NAME,
    "return_tokens": _OTHER_NAME,
    "return_prompt_token_ids": _OTHER_NAME,
}
"""Why a field of unsupported_fields.REFUSED is not supported, by its name."""
