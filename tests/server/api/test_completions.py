"""/v1/completions with the openai client, on a fake engine core.

The parrot's tokens are bytes, and it says again what stood 16 tokens before.
"""

import openai
import pytest

PROMPT = "0123456789abcdef"
EMOJI = "😀🎉🐦🌍"  # 16 bytes: each character comes in four tokens


def test_a_text_is_continued(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="parrot", prompt=PROMPT, max_tokens=20)
    assert reply.id.startswith("cmpl-")
    assert reply.object == "text_completion"
    assert reply.model == "parrot"
    assert reply.choices[0].text == PROMPT + "0123"
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 16
    assert reply.usage.completion_tokens == 20
    assert reply.usage.total_tokens == 36


def test_the_default_of_max_tokens_is_16_also_for_null(client: openai.OpenAI) -> None:
    for max_tokens in (openai.omit, None):
        reply = client.completions.create(model="parrot", prompt=PROMPT, max_tokens=max_tokens)
        assert reply.usage is not None
        assert reply.usage.completion_tokens == 16


@pytest.mark.parametrize(
    "prompt",
    [["abcdefgh" * 2, "ABCDEFGH" * 2], [list(b"abcdefgh" * 2), list(b"ABCDEFGH" * 2)]],
    ids=["texts", "token ids"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_each_prompt_of_a_list_has_its_choices_in_order(
    client: openai.OpenAI, prompt: list[str], stream: bool
) -> None:
    texts = dict.fromkeys(range(4), "")
    if stream:
        for chunk in client.completions.create(
            model="parrot", prompt=prompt, max_tokens=4, n=2, stream=True
        ):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
    else:
        reply = client.completions.create(model="parrot", prompt=prompt, max_tokens=4, n=2)
        assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
        texts = {choice.index: choice.text for choice in reply.choices}
        assert reply.usage is not None
        assert reply.usage.prompt_tokens == 32
        assert reply.usage.completion_tokens == 16
    assert texts == {0: "abcd", 1: "abcd", 2: "ABCD", 3: "ABCD"}


def test_a_prompt_may_be_token_ids(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="parrot", prompt=list(PROMPT.encode()), max_tokens=4)
    assert reply.choices[0].text == "0123"


@pytest.mark.parametrize("prompt", [PROMPT, list(PROMPT.encode())], ids=["text", "token ids"])
@pytest.mark.parametrize("stream", [False, True])
def test_echo_puts_the_prompt_before_the_output(
    client: openai.OpenAI, prompt: str, stream: bool
) -> None:
    if stream:
        chunks = client.completions.create(
            model="parrot", prompt=prompt, max_tokens=4, echo=True, stream=True
        )
        text = "".join(chunk.choices[0].text for chunk in chunks)
    else:
        reply = client.completions.create(model="parrot", prompt=prompt, max_tokens=4, echo=True)
        text = reply.choices[0].text
    assert text == PROMPT + "0123"


def test_a_stream_splits_no_character(client: openai.OpenAI) -> None:
    chunks = list(
        client.completions.create(model="parrot", prompt=EMOJI, max_tokens=32, stream=True)
    )
    texts = [chunk.choices[0].text for chunk in chunks]
    assert "".join(texts) == EMOJI * 2
    assert "\ufffd" not in "".join(texts)
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "length"]


def test_stop_strings_end_the_text_before_them(client: openai.OpenAI) -> None:
    for stop in ("45", ["xyz", "45"]):
        reply = client.completions.create(model="parrot", prompt=PROMPT, max_tokens=16, stop=stop)
        assert reply.choices[0].text == "0123"
        assert reply.choices[0].finish_reason == "stop"
        assert (reply.choices[0].model_extra or {})["stop_reason"] == "45"


def test_vllms_extra_fields_are_accepted(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model="parrot",
        prompt=PROMPT,
        max_tokens=16,
        stop="45",
        extra_body={
            "include_stop_str_in_output": True,
            "top_k": 5,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
            "min_tokens": 2,
            "ignore_eos": True,
            "skip_special_tokens": False,
            "priority": 0,
        },
    )
    assert reply.choices[0].text == "012345"


def test_the_stop_token_is_the_stop_reason(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model="parrot", prompt=PROMPT, max_tokens=16, extra_body={"stop_token_ids": [ord("3")]}
    )
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.choices[0].model_extra or {})["stop_reason"] == ord("3")


def test_eos_ends_the_text_unless_ignored(client: openai.OpenAI) -> None:
    prompt = [*b"0123456789abcd", 256, ord("!")]
    reply = client.completions.create(model="parrot", prompt=prompt, max_tokens=20)
    assert reply.choices[0].text == "0123456789abcd"
    assert reply.choices[0].finish_reason == "stop"
    reply = client.completions.create(
        model="parrot", prompt=prompt, max_tokens=16, extra_body={"ignore_eos": True}
    )
    assert reply.choices[0].text == "0123456789abcd!"
    assert reply.choices[0].finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_have_a_row_for_each_token(client: openai.OpenAI, stream: bool) -> None:
    arguments = {"model": "parrot", "prompt": PROMPT, "max_tokens": 3, "logprobs": 2}
    if stream:
        chunks = [chunk.choices[0] for chunk in client.completions.create(**arguments, stream=True)]
    else:
        chunks = client.completions.create(**arguments).choices
    rows = [chunk.logprobs for chunk in chunks if chunk.logprobs]
    assert [token for row in rows for token in row.tokens] == ["0", "1", "2"]
    assert [offset for row in rows for offset in row.text_offset] == [0, 1, 2]
    assert [value for row in rows for value in row.token_logprobs] == [-1.0, -1.0, -1.0]
    assert next(top for row in rows for top in row.top_logprobs) == {"0": -1.0, "1": -2.0}


def test_a_stream_ends_with_the_usage_if_requested(client: openai.OpenAI) -> None:
    chunks = list(
        client.completions.create(
            model="parrot",
            prompt=PROMPT,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert len(chunks) == 6  # one per token, and the usage


def test_usage_may_be_sent_with_each_chunk(client: openai.OpenAI) -> None:
    chunks = client.completions.create(
        model="parrot",
        prompt=PROMPT,
        max_tokens=3,
        stream=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},  # type: ignore[typeddict-unknown-key]
    )
    counts = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
    assert counts == [1, 2, 3, 3]


def test_cached_prompt_tokens_are_reported(client: openai.OpenAI) -> None:
    prompt = "a prompt that fills two blocks.." + "x" * 16
    cached = []
    for _ in range(2):
        reply = client.completions.create(model="parrot", prompt=prompt, max_tokens=1)
        assert reply.usage is not None
        assert reply.usage.prompt_tokens_details is not None
        cached.append(reply.usage.prompt_tokens_details.cached_tokens)
    assert cached == [0, 32]  # the last block is recomputed for its logits


@pytest.mark.parametrize("stream", [False, True])
def test_token_ids_are_returned_if_requested(client: openai.OpenAI, stream: bool) -> None:
    arguments = {"model": "parrot", "prompt": PROMPT, "max_tokens": 3}
    extra = {"return_token_ids": True}
    if stream:
        chunks = client.completions.create(**arguments, stream=True, extra_body=extra)
        choices = [chunk.choices[0] for chunk in chunks]
    else:
        choices = client.completions.create(**arguments, extra_body=extra).choices
    extras = [choice.model_extra or {} for choice in choices]
    assert extras[0]["prompt_token_ids"] == list(PROMPT.encode())
    assert [token for each in extras for token in each["token_ids"]] == list(b"012")


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"stop": {"a": 1}}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {"1000": 1}}, "logit_bias"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"extra_body": {"prompt": []}}, "prompt"),
        ({"extra_body": {"prompt": ""}}, "prompt"),
        ({"extra_body": {"prompt": [1, "a"]}}, "prompt[1]"),
        ({"extra_body": {"prompt": [257]}}, "prompt"),
        ({"echo": True, "extra_body": {"prompt": [257]}}, "prompt"),
        ({"echo": True, "extra_body": {"prompt": [-1]}}, "prompt[0]"),
        ({"echo": True, "extra_body": {"prompt": [[1], [2, -1]]}}, "prompt[1][1]"),
        ({"echo": True, "extra_body": {"prompt": [2**31]}}, "prompt[0]"),
        ({"echo": True, "extra_body": {"prompt": [[1], []]}}, "prompt"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"extra_body": {"stop_token_ids": [257]}}, "stop_token_ids"),
        ({"extra_body": {"repetition_penalty": 1e-46}}, "repetition_penalty"),
        ({"extra_body": {"repetition_penalty": 1e300}}, "repetition_penalty"),
        ({"temperature": 1e300}, "temperature"),
        ({"n": 10**30}, "n"),
        ({"stop": ["x"] * 65}, "stop"),
        ({"stop": "x" * 257}, "stop"),
        ({"extra_body": {"prompt": None}}, "prompt"),
        ({"extra_body": {"top_k": -2}}, "top_k"),
        ({"extra_body": {"min_tokens": 17}}, "min_tokens"),
        ({"extra_body": {"top_k": 10**30}}, "top_k"),
        ({"extra_body": {"stop_token_ids": [10**30]}}, "stop_token_ids[0]"),
        ({"seed": 10**30}, "seed"),
        ({"extra_body": {"guided_json": {"type": "obj"}}}, "guided_json"),
        ({"extra_body": {"response_format": {"type": "xml"}}}, "response_format.type"),
        ({"extra_body": {"use_beam_search": True}}, "use_beam_search"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_named(
    client: openai.OpenAI, parameters: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**{"model": "parrot", "prompt": PROMPT, **parameters})
    assert refused.value.param == param
    assert param in refused.value.message
    assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("parameters", "counts"),
    [({"prompt": "x" * 2050}, ("2050", "2048")), ({"max_tokens": 2040}, ("2056", "2048"))],
    ids=["prompt", "max_tokens"],
)
def test_exceeding_the_context_is_refused_with_both_counts(
    client: openai.OpenAI, parameters: dict[str, object], counts: tuple[str, str]
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**{"model": "parrot", "prompt": PROMPT, **parameters})
    assert refused.value.code == "context_length_exceeded"
    assert all(count in refused.value.message for count in counts)


def test_an_alias_is_the_model_too(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="polly", prompt=PROMPT, max_tokens=1)
    assert reply.model == "parrot"


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.completions.create(model="gpt-9", prompt=PROMPT)
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"
