"""Every field that OpenAI's and Anthropic's clients can send is supported, ignored or refused."""

import json
import typing
from typing import Any

import anthropic.types.message_count_tokens_params as count_params
import anthropic.types.message_create_params as message_params
import openai.types.responses.response_create_params as response_params
import pytest

from headrace.core.errors import InvalidParameterError
from headrace.server.api.messages.request import CountTokensRequest, MessagesRequest
from headrace.server.api.responses.request import ResponsesRequest
from headrace.server.http.errors import ApiError, ErrorCode

Model = type[ResponsesRequest] | type[MessagesRequest] | type[CountTokensRequest]
MESSAGES = [{"role": "user", "content": "Hi."}]
BODIES: dict[Model, dict[str, Any]] = {
    ResponsesRequest: {"input": "Hi."},
    MessagesRequest: {"messages": MESSAGES, "max_tokens": 1},
    CountTokensRequest: {"messages": MESSAGES},
}
PARAMS: dict[Model, Any] = {
    ResponsesRequest: response_params.ResponseCreateParamsStreaming,
    MessagesRequest: message_params.MessageCreateParamsStreaming,
    CountTokensRequest: count_params.MessageCountTokensParams,
}
BETAS = {"betas", "user_profile_id", "workspace_id"}
"""Sent as headers."""
models = pytest.mark.parametrize("model", BODIES)


def check(model: Model, **fields: Any) -> None:
    model.model_validate_json(json.dumps({**BODIES[model], **fields})).check()


@models
def test_every_field_of_the_client_is_known(model: Model) -> None:
    sent = set(typing.get_type_hints(PARAMS[model]))
    assert {"model", "tools"} <= sent
    known = model.model_fields.keys() | model.refused.keys() | model.ignored
    assert sent - known - BETAS == set()


@models
def test_no_field_is_in_two_tables(model: Model) -> None:
    supported = set(model.model_fields)
    assert not supported & model.refused.keys()
    assert not supported & model.ignored
    assert not model.ignored & model.refused.keys()


@models
def test_refused_fields_accept_neutral_values_alone(model: Model) -> None:
    for name, field in model.refused.items():
        for value in (None, *field.neutral):
            check(model, **{name: value})
        with pytest.raises(InvalidParameterError) as refused:
            check(model, **{name: {"a": 1}})
        assert refused.value.param == name


@models
def test_ignored_fields_accept_any_value(model: Model) -> None:
    for name in model.ignored:
        for value in (None, "x", 1, {"a": [1]}):
            check(model, **{name: value})


@models
def test_unknown_fields_are_refused(model: Model) -> None:
    with pytest.raises(ApiError) as refused:
        check(model, something_new=None)
    assert (refused.value.code, refused.value.param) == (
        ErrorCode.UNKNOWN_PARAMETER,
        "something_new",
    )
