"""How supported fields differ from OpenAI's and vLLM's, and why others are not supported.

/docs and docs/api.md list them.
"""

from collections.abc import Mapping

from pydantic import BaseModel

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
    (Message, "role"): "`developer` is rendered as `system`.",
    (ContentPart, "type"): "Images, audio, video and files are not supported.",
    (StreamOptions, "include_obfuscation"): "Changes nothing: no padding is sent.",
}
"""By the model that declares the field, or whose subclasses share the difference."""

_BEAMS = "Beam search is not implemented"
_CODE = "It would run code that comes with a request"
_TEXT = "Models have text as input and output only"
_HOSTED = "A service of OpenAI's platform"
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
    "suffix": "Fill-in-the-middle needs a template that models do not come with",
    "prompt_embeds": "Prompts are text or token ids",
    "session_params": "Every request is complete by itself",
    "max_new_tokens": "Another name of a supported field",
    "n_predict": "Another name of a supported field",
    "n_cmpl": "Another name of a supported field",
    "repeat_penalty": "Another name of a supported field",
    "extra_key": "Another name of a supported field",
    "no_stop_trim": "Another name of a supported field",
    "return_tokens": "Another name of a supported field",
    "return_prompt_token_ids": "Another name of a supported field",
}
"""Why a field of unsupported_fields.REFUSED is not supported, by its name."""
