"""Fields of other servers that would change the response are refused; others are ignored."""

import json
import typing
from typing import Any

import openai.types.chat.completion_create_params as openai_chat
import openai.types.completion_create_params as openai_completions
import pytest

from headrace.core.errors import InvalidParameterError
from headrace.server.api.schemas.requests import (
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
)
from headrace.server.api.schemas.unsupported_fields import (
    IGNORED,
    REFUSED_IN_MESSAGES,
    RefusedField,
)
from headrace.server.http.errors import ApiError, ErrorCode
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

MESSAGES = [{"role": "user", "content": "hi"}]
ENDPOINTS: dict[type[GenerationRequest], tuple[str, dict[str, Any]]] = {
    CompletionRequest: ("/v1/completions", {"prompt": "hi", "max_tokens": 1}),
    ChatCompletionRequest: ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1}),
}
REFUSED = [(model, field) for model in ENDPOINTS for field in model.refused.values()]
VALUES: list[Any] = [
    *(False, True, 0, 1, -1, 2, 0.0, 0.5, 1.0, "", "none", "text", "x"),
    *([], [0], ["x"], ["text"], {}, {"type": "text"}, {"type": "json_object"}, {"a": None}),
]
refused_fields = pytest.mark.parametrize(
    ("model", "field"),
    REFUSED,
    ids=[f"{model.__name__}-{field.name}" for model, field in REFUSED],
)


def same_json(one: object, other: object) -> bool:
    """The same JSON text or the same number."""
    numbers = all(isinstance(each, (int, float)) for each in (one, other))
    booleans = any(isinstance(each, bool) for each in (one, other))
    return json.dumps(one) == json.dumps(other) or (numbers and not booleans and one == other)


def check(model: type[GenerationRequest], **fields: Any) -> None:
    _, body = ENDPOINTS[model]
    model.model_validate_json(json.dumps({**body, **fields})).check()


@refused_fields
def test_other_values_are_refused(model: type[GenerationRequest], field: RefusedField) -> None:
    values = [
        value for value in VALUES if not any(same_json(value, each) for each in field.neutral)
    ]
    if {} in field.neutral:
        values.remove({"a": None})  # null keys count as missing
    assert len(values) > 10
    for value in values:
        with pytest.raises(InvalidParameterError) as refused:
            check(model, **{field.name: value})
        assert refused.value.param == field.name


@refused_fields
def test_neutral_values_are_accepted(model: type[GenerationRequest], field: RefusedField) -> None:
    for value in (None, *field.neutral):
        check(model, **{field.name: value})


@pytest.mark.parametrize("model", ENDPOINTS)
def test_ignored_fields_accept_any_value(model: type[GenerationRequest]) -> None:
    for name in sorted(IGNORED):
        for value in (None, *VALUES):
            check(model, **{name: value})


@pytest.mark.parametrize("model", ENDPOINTS)
def test_unknown_fields_are_refused(model: type[GenerationRequest]) -> None:
    for name in ("something_new", "check", "refused", "model_config", "__class__", "é", ""):
        for value in (None, [1]):
            with pytest.raises(ApiError) as refused:
                check(model, **{name: value})
            assert refused.value.param == name
            assert refused.value.code is ErrorCode.UNKNOWN_PARAMETER


def test_the_error_for_an_unknown_field_names_a_similar_one() -> None:
    with pytest.raises(ApiError) as refused:
        check(CompletionRequest, max_token=1)
    assert "max_tokens" in refused.value.message


@pytest.mark.parametrize("name", REFUSED_IN_MESSAGES)
def test_the_error_for_a_field_of_a_message_has_its_path(name: str) -> None:
    message = {**MESSAGES[0], name: True}
    with pytest.raises(InvalidParameterError) as refused:
        check(ChatCompletionRequest, messages=[*MESSAGES, message])
    assert refused.value.param == f"messages[1].{name}"
    for neutral in (None, *REFUSED_IN_MESSAGES[name].neutral):
        check(ChatCompletionRequest, messages=[{**MESSAGES[0], name: neutral}])


def test_no_field_is_in_two_tables() -> None:
    for model in ENDPOINTS:
        supported = set(model.model_fields)
        assert not supported & model.refused.keys()
        assert not supported & IGNORED
        assert not IGNORED & model.refused.keys()


VLLM_BOTH = """
model frequency_penalty logit_bias logprobs max_tokens n presence_penalty response_format seed stop
stream stream_options temperature top_p user use_beam_search top_k min_p repetition_penalty
watermarking length_penalty stop_token_ids include_stop_str_in_output ignore_eos min_tokens
skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens truncation_side
prompt_logprobs logprob_token_ids allowed_token_ids bad_words echo add_special_tokens
structured_outputs priority request_id session_id return_tokens_as_token_ids return_token_ids
routed_experts_prompt_start return_token_offsets return_mm_kwargs cache_salt kv_transfer_params
ec_transfer_params vllm_xargs repetition_detection thinking_token_budget stream_interval
"""
VLLM = {
    CompletionRequest: [*VLLM_BOTH.split(), "prompt", "suffix", "best_of", "prompt_embeds"],
    ChatCompletionRequest: [
        *VLLM_BOTH.split(),
        *("messages", "top_logprobs", "max_completion_tokens", "tools", "tool_choice"),
        *("reasoning_effort", "include_reasoning", "parallel_tool_calls", "documents"),
        *("add_generation_prompt", "continue_final_message", "chat_template"),
        *("chat_template_kwargs", "media_io_kwargs", "mm_processor_kwargs", "return_prompt_text"),
    ],
}
"""The fields of vLLM's requests, as of its versions after 0.33."""
OPENAI = {
    CompletionRequest: openai_completions.CompletionCreateParamsStreaming,
    ChatCompletionRequest: openai_chat.CompletionCreateParamsStreaming,
}


@pytest.mark.parametrize("model", ENDPOINTS)
def test_every_field_of_openai_and_vllm_is_known(model: type[GenerationRequest]) -> None:
    params = OPENAI[model]  # type: ignore[index]
    openai_fields = {
        name for base in (params, *params.__orig_bases__) for name in base.__annotations__
    }
    assert {"model", "logit_bias", "stream"} <= openai_fields
    known = model.model_fields.keys() | model.refused.keys() | IGNORED
    assert openai_fields - known == set()
    assert set(typing.cast("dict[Any, list[str]]", VLLM)[model]) - known == set()


@pytest.mark.parametrize("model", ENDPOINTS)
def test_the_server_refuses_and_ignores_them(
    server: ServerProcess, model: type[GenerationRequest]
) -> None:
    path, body = ENDPOINTS[model]
    for field in model.refused.values():
        response = post(server.url, path, {**body, field.name: {"a": 1}})
        assert response.status == 400
        assert response.error["param"] == field.name
        assert response.error["code"] == "invalid_value"
    neutral = {
        field.name: field.neutral[0] if field.neutral else None for field in model.refused.values()
    }
    ignored: dict[str, Any] = dict.fromkeys(IGNORED, "x")
    assert post(server.url, path, {**body, **neutral, **ignored}).status == 200
    response = post(server.url, path, {**body, "stream_options": {"something_new": 1}})
    assert response.status == 400
    assert response.error["param"] == "stream_options.something_new"
    assert response.error["code"] == "unknown_parameter"
