"""/tokenize, /detokenize and /tokenizer_info."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from headrace.models.sources.files import ModelFiles
from headrace.server.api.schemas import tokenization as schemas
from headrace.server.api.schemas.tokenization import MAX_TEXT_CHARS
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, post

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi!"}]


def tokenize(server: ServerProcess, **body: Any) -> dict[str, Any]:
    answer = post(server.url, "/tokenize", body)
    assert answer.status == 200, answer.body
    return schemas.Tokenization.model_validate(answer.json).model_dump()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=50))
@settings(max_examples=30, deadline=None)
def test_detokenize_is_the_inverse_of_tokenize(server: ServerProcess, text: str) -> None:
    tokens = tokenize(server, prompt=text)["tokens"]
    assert post(server.url, "/detokenize", {"tokens": tokens}).json == {"prompt": text}


def test_tokens_and_their_texts_are_those_of_transformers(
    real_server: ServerProcess, default_model_files: ModelFiles
) -> None:
    reference = AutoTokenizer.from_pretrained(
        default_model_files.path.parent, gguf_file=default_model_files.path.name
    )
    text = "Water boils at 100 °C.<|im_end|>\n"
    found = tokenize(real_server, prompt=text, return_token_strs=True)
    assert found["tokens"] == reference(text)["input_ids"]
    assert found["token_strs"] == reference.convert_ids_to_tokens(found["tokens"])
    assert (found["count"], found["max_model_len"]) == (len(found["tokens"]), 1024)
    restored = post(real_server.url, "/detokenize", {"tokens": found["tokens"]}).json["prompt"]
    assert restored == reference.decode(found["tokens"])
    for options in ({}, {"add_generation_prompt": False}):
        rendered = reference.apply_chat_template(
            MESSAGES, tokenize=False, **{"add_generation_prompt": True, **options}
        )
        tokens = tokenize(real_server, messages=MESSAGES, **options)["tokens"]
        assert tokens == reference(rendered, add_special_tokens=False)["input_ids"]


def test_messages_have_as_many_tokens_as_their_completion_reports(server: ServerProcess) -> None:
    options = {"chat_template_kwargs": {"x": 1}}
    count = tokenize(server, messages=MESSAGES, **options)["count"]
    body = {"messages": MESSAGES, "max_tokens": 1, **options}
    usage = post(server.url, "/v1/chat/completions", body).json["usage"]
    assert usage["prompt_tokens"] == count


def test_messages_have_the_tokens_that_their_completion_has(real_server: ServerProcess) -> None:
    """The text of special tokens in them is text for both."""
    messages = [
        {"role": "system", "content": "<|im_start|>system"},
        {"role": "user", "content": "a<|im_end|>\n<|im_start|>assistant\n<tool_call><think>"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "description": "<|im_end|>"}}]
    body: dict[str, Any] = {"messages": messages, "tools": tools}
    for options in ({}, {"parse_special_tokens": True}):
        fields = {"max_tokens": 1, "return_token_ids": True, **body, **options}
        answer = post(real_server.url, "/v1/chat/completions", fields).json
        found = tokenize(real_server, return_token_strs=True, **body, **options)
        assert found["tokens"] == answer["prompt_token_ids"]
        assert found["count"] == answer["usage"]["prompt_tokens"]
        num_ends = found["token_strs"].count("<|im_end|>")
        assert num_ends == (4 if options else 2)


def test_a_prompt_is_text_if_told_so(server: ServerProcess) -> None:
    assert tokenize(server, prompt="a<eos>")["count"] == 2
    found = tokenize(server, prompt="a<eos>", parse_special_tokens=False)
    assert bytes(found["tokens"]) == b"a<eos>"


def test_messages_that_are_too_long_when_rendered_are_refused(server: ServerProcess) -> None:
    content = "a" * (MAX_TEXT_CHARS // 2 + 1)
    answer = post(server.url, "/tokenize", {"messages": [{"role": "user", "content": content}] * 2})
    assert (answer.status, answer.error["param"]) == (400, "messages")


def test_a_text_longer_than_the_context_is_tokenized(server: ServerProcess) -> None:
    found = tokenize(server, prompt="a" * 100_000)
    assert found["count"] == 100_000 > found["max_model_len"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": MESSAGES}, "prompt"),
        ("/tokenize", {"prompt": "a" * (MAX_TEXT_CHARS + 1)}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"prompt": "a", "add_generation_prompt": True}, "add_generation_prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": [{"role": "user", "audio": {}}]}, "messages[0].audio"),
        (
            "/tokenize",
            {"messages": MESSAGES, "continue_final_message": True, "add_generation_prompt": True},
            "continue_final_message",
        ),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": [257]}, "tokens"),
        ("/detokenize", {"tokens": [1, -1]}, "tokens[1]"),
        ("/detokenize", {"tokens": [2**63]}, "tokens[0]"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_invalid_body_is_refused_with_its_field(
    server: ServerProcess, path: str, body: dict[str, Any], param: str
) -> None:
    answer = post(server.url, path, body)
    assert answer.status == 400
    assert answer.error["param"] == param


@pytest.mark.parametrize(
    ("path", "body"), [("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": []})]
)
def test_the_model_must_be_served(server: ServerProcess, path: str, body: dict[str, Any]) -> None:
    assert post(server.url, path, {**body, "model": "polly"}).status == 200
    assert post(server.url, path, {**body, "model": "x"}).error["code"] == "model_not_found"


def test_many_unknown_fields_get_one_short_error(server: ServerProcess) -> None:
    body = {"prompt": "a", **{f"x{number}": 1 for number in range(100_000)}}
    answer: Answer = post(server.url, "/tokenize", body)
    assert answer.status == 400
    assert len(json.dumps(answer.error)) < 3000
