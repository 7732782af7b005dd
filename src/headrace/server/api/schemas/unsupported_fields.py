"""Fields of OpenAI's, vLLM's, SGLang's and llama.cpp's APIs that this server does not implement.

A field that would change the response is refused, unless its value is neutral. Other fields are
accepted and ignored. Fields in none of these tables are refused too. docs/api.md lists all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any, ClassVar

from pydantic import ConfigDict, model_validator

from headrace.core.errors import InvalidParameterError
from headrace.server.http.body_model import BodyModel
from headrace.server.http.errors import unknown_field
from headrace.server.http.json_body import JsonObject

MAX_FIELDS = 256
"""Of a body, unknown fields included."""


class Endpoint(Flag):
    COMPLETIONS = auto()
    CHAT = auto()
    BOTH = COMPLETIONS | CHAT


@dataclass(frozen=True, slots=True)
class RefusedField:
    """A field that is refused unless it is null or has a neutral value."""

    name: str
    neutral: tuple[Any, ...] = ()
    """JSON values that do not change the response."""
    instead: str = ""
    """What to do instead; empty: remove the field."""
    endpoint: Endpoint = Endpoint.BOTH

    def is_neutral(self, value: Any) -> bool:
        return value is None or any(_equal(value, each) for each in self.neutral)

    def refusal(self, path: str = "") -> InvalidParameterError:
        """path: prefix of the field's name, such as ``messages[1].``."""
        return InvalidParameterError(
            f"{path}{self.name}", f"is not supported; {self.instead or 'remove it'}"
        )


def refused_fields(endpoint: Endpoint) -> Mapping[str, RefusedField]:
    """The refused fields of an endpoint, by name."""
    return {field.name: field for field in REFUSED if endpoint in field.endpoint}


def check_fields(
    given: Mapping[str, Any] | None, refused: Mapping[str, RefusedField], path: str = ""
) -> None:
    """Raises InvalidParameterError for a refused field whose value is not neutral."""
    for name, value in (given or {}).items():
        field = refused.get(name)
        if field is not None and not field.is_neutral(value):
            raise field.refusal(path)


_COMPLETIONS, _CHAT = Endpoint.COMPLETIONS, Endpoint.CHAT
_USE_CHAT = "use /v1/chat/completions"
_TEMPLATE = "pass it in chat_template_kwargs if the model's chat template uses it"

REFUSED: tuple[RefusedField, ...] = (
    # Fields of the other endpoint
    RefusedField("max_completion_tokens", (), "use max_tokens", _COMPLETIONS),
    RefusedField("top_logprobs", (0,), "use logprobs", _COMPLETIONS),
    RefusedField("chat_template_kwargs", ({},), endpoint=_COMPLETIONS),
    RefusedField("add_generation_prompt", (False, True), endpoint=_COMPLETIONS),
    RefusedField("continue_final_message", (False,), endpoint=_COMPLETIONS),
    RefusedField("tools", ([],), _USE_CHAT, _COMPLETIONS),
    RefusedField("tool_choice", ("none",), _USE_CHAT, _COMPLETIONS),
    RefusedField("parallel_tool_calls", (False, True), _USE_CHAT, _COMPLETIONS),
    RefusedField("reasoning_effort", (), _USE_CHAT, _COMPLETIONS),
    RefusedField("include_reasoning", (True,), _USE_CHAT, _COMPLETIONS),
    RefusedField("best_of", (1,), "use n", _CHAT),
    RefusedField("documents", ([],), endpoint=_COMPLETIONS),
    RefusedField("chat_template", ("",), endpoint=_COMPLETIONS),
    RefusedField("return_prompt_text", (False,), "use echo", _COMPLETIONS),
    # OpenAI
    RefusedField("suffix", ("",), "fill-in-the-middle is not available"),
    RefusedField("functions", ([],), "use tools"),
    RefusedField("function_call", ("none",), "use tool_choice"),
    RefusedField("modalities", (["text"],), 'only ["text"] is supported'),
    RefusedField("audio"),
    RefusedField("moderation"),
    RefusedField("web_search_options"),
    RefusedField("verbosity", ("medium",)),
    # vLLM: sampling
    RefusedField("use_beam_search", (False,)),
    RefusedField("length_penalty", (1,)),
    RefusedField("early_stopping", (False,)),
    RefusedField("logits_processors", ([],)),
    RefusedField("repetition_detection"),
    RefusedField("thinking_token_budget", (-1,)),
    RefusedField("watermarking", (False,)),
    # vLLM: structured outputs
    RefusedField("structural_tag", (), "use structured_outputs"),
    # vLLM: the prompt
    RefusedField("prompt_embeds", ([],)),
    RefusedField("media_io_kwargs", ({},)),
    RefusedField("mm_processor_kwargs", ({},)),
    # vLLM: other
    RefusedField("kv_transfer_params", ({},)),
    RefusedField("ec_transfer_params", ({},)),
    RefusedField("vllm_xargs", ({},)),
    # SGLang
    RefusedField("stop_regex", ("", [])),
    RefusedField("no_stop_trim", (False,), "use include_stop_str_in_output"),
    RefusedField("custom_logit_processor"),
    RefusedField("custom_params", ({},)),
    RefusedField("lora_path", (), "name the adapter as model"),
    RefusedField("session_params", ({},)),
    RefusedField("extra_key", (), "use cache_salt"),
    RefusedField("input_ids", (), "send token ids to /v1/completions"),
    RefusedField("reasoning", (), _TEMPLATE),
    RefusedField("task"),
    RefusedField("return_hidden_states", (False,)),
    RefusedField("return_routed_experts", (False,)),
    RefusedField("return_cached_tokens_details", (False,)),
    RefusedField("return_meta_info", (False,)),
    RefusedField("return_prompt_token_ids", (False,), "use return_token_ids"),
    # llama.cpp
    RefusedField("n_predict", (-1,), "use max_tokens"),
    RefusedField("n_cmpl", (1,), "use n"),
    RefusedField("n_indent", (0,)),
    RefusedField("n_keep", (0,)),
    RefusedField("t_max_predict_ms", (0, -1)),
    RefusedField("samplers"),
    RefusedField("dynatemp_range", (0,)),
    RefusedField("typical_p", (1,)),
    RefusedField("top_n_sigma", (-1,)),
    RefusedField("xtc_probability", (0,)),
    RefusedField("mirostat", (0,)),
    RefusedField("min_keep", (0,)),
    RefusedField("repeat_penalty", (1,), "use repetition_penalty"),
    RefusedField("repeat_last_n", (-1,)),
    RefusedField("dry_multiplier", (0,)),
    RefusedField("lora", ([],), "name the adapter as model"),
    RefusedField("n_probs", (0,), "use logprobs"),
    RefusedField("post_sampling_probs", (False,)),
    RefusedField("return_tokens", (False,), "use return_token_ids"),
    RefusedField("response_fields", ([],)),
    RefusedField("timings_per_token", (False,)),
    RefusedField("return_progress", (False,)),
    RefusedField("reasoning_format", ("none",)),
    # Template variables and other names of supported fields
    RefusedField("enable_thinking", (), _TEMPLATE),
    RefusedField("max_new_tokens", (), "use max_tokens"),
)

IGNORED = frozenset(
    {
        # OpenAI: accounts, storage, caching, billing, service tiers
        *("metadata", "prediction", "prompt_cache_key"),
        *("prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier"),
        *("store", "user"),
        # vLLM: scheduling, routing, chunk size, and options of refused fields
        *("guided_decoding_backend", "return_mm_kwargs", "return_token_offsets", "session_id"),
        *("routed_experts_prompt_start", "spaces_between_special_tokens"),
        # SGLang: routing, metrics, images, and reasoning, which is left in the text
        *("bootstrap_host", "bootstrap_port", "bootstrap_room", "custom_labels"),
        *("data_parallel_rank", "disagg_prefill_dp_rank", "images_config", "max_dynamic_patch"),
        *("min_dynamic_patch", "ngram_corpus_id", "rid", "routed_dp_rank"),
        *("routed_experts_start_len", "separate_reasoning", "stream_reasoning"),
        "use_audio_in_video",
        # llama.cpp: its cache and connections, and options of refused samplers
        *("cache_prompt", "dry_allowed_length", "dry_base", "dry_penalty_last_n"),
        *("dry_sequence_breakers", "dynatemp_exponent", "id_slot", "mirostat_eta", "mirostat_tau"),
        *("n_cache_reuse", "sse_ping_interval", "xtc_threshold"),
    }
)
"""Fields that are accepted with any value and have no effect."""

REFUSED_IN_MESSAGES: Mapping[str, RefusedField] = {
    field.name: field
    for field in (
        RefusedField("function_call", (), "use tool_calls"),
        RefusedField("audio"),
        RefusedField("prefix", (False,), "use continue_final_message"),
        RefusedField("partial", (False,), "use continue_final_message"),
    )
}
"""Refused fields of a message; other fields are passed to the chat template."""


def _describe_unsupported(schema: JsonObject, model: type["PartialBodyModel"]) -> None:
    """Add the refused fields, which accept only their neutral values, and the ignored ones."""
    schema["maxProperties"] = MAX_FIELDS
    schema["additionalProperties"] = False
    properties = schema["properties"]
    for name, field in model.refused.items():
        properties[name] = {
            "description": "Not supported.",
            "enum": [None, *field.neutral],
            "default": None,
        }
    for name in sorted(model.ignored):
        properties[name] = {"description": "Accepted and ignored.", "default": None}


class PartialBodyModel(BodyModel):
    """A body some of whose fields, as another server has them, are refused or change nothing."""

    model_config = ConfigDict(
        extra="allow", protected_namespaces=(), json_schema_extra=_describe_unsupported
    )
    refused: ClassVar[Mapping[str, RefusedField]] = {}
    ignored: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="after")
    def _check_number_of_fields(self) -> "PartialBodyModel":
        if len(self.model_fields_set) > MAX_FIELDS:
            raise ValueError(f"must have at most {MAX_FIELDS} fields")
        return self

    def check_unsupported(self) -> None:
        """Raises InvalidParameterError for refused fields, ApiError for fields that no API has."""
        extra = self.model_extra or {}
        check_fields(extra, self.refused)
        for name in extra:
            if name not in self.refused and name not in self.ignored:
                raise unknown_field(name, type(self).model_fields)


def _equal(one: Any, other: Any) -> bool:
    """JSON equality: 1 equals 1.0, 0 differs from false, and null keys count as missing."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict):
        one = {key: value for key, value in one.items() if value is not None}
    return bool(one == other)
