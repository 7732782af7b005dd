"""POST /v1/messages with the anthropic client, on outputs that the tests write."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from headrace.server.api.messages.message_schemas import MessageBody, MessageError, MessageEvent
from headrace.testing.fakes.fake_model import END, script
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, post, request

KEY = "sesame"
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
CALL = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}\n</tool_call>'
)
OUTPUTS = [
    "It is warm.",
    f"I will look.\n{CALL}\n{CALL}",
    f"<think>\nHm, the weather.\n</think>\n\nOne moment. {CALL}",
    "<think>\nEasy.\n</think>\n\nIt is warm.",
    "",
]


@pytest.fixture(scope="module")
def client(parrot: ServerProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=parrot.url, api_key=KEY, max_retries=0) as client:
        yield client


def user(output: str) -> dict[str, Any]:
    return {"role": "user", "content": script(output)}


def saying(output: str) -> dict[str, Any]:
    """Arguments of a request whose output is this text."""
    return {
        "model": "parrot",
        "max_tokens": 1000,
        "messages": [user(output)],
        "stop_sequences": [END],
    }


def send(server: ServerProcess, path: str = "/v1/messages", **body: Any) -> Answer:
    return post(server.url, path, body, X_Api_Key=KEY)


def comparable(message: Any) -> dict[str, Any]:
    """The message without what differs between two equal requests."""
    found: dict[str, Any] = message.to_dict()
    usage = found["usage"]
    usage["input_tokens"] += usage.pop("cache_read_input_tokens")
    for block in found["content"]:
        block.pop("parsed_output", None)
        if block["type"] == "tool_use":
            block["id"] = ""
    return {**found, "id": ""}


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_stream_is_the_whole_message(client: anthropic.Anthropic, output: str) -> None:
    arguments = saying(output) | {"tools": [WEATHER]}
    whole = client.messages.create(**arguments)
    with client.messages.stream(**arguments) as stream:
        streamed = stream.get_final_message()
    assert comparable(streamed) == comparable(whole)
    assert whole.stop_reason == ("tool_use" if CALL in output else "stop_sequence")
    assert whole.stop_sequence == END
    details = whole.usage.output_tokens_details
    assert details is not None
    assert (details.thinking_tokens > 0) is ("<think>" in output)


def test_thinking_text_and_calls_are_blocks(client: anthropic.Anthropic) -> None:
    reply = client.messages.create(**saying(OUTPUTS[2]), tools=[WEATHER])
    thinking, text, call = reply.content
    assert (thinking.type, text.type, call.type) == ("thinking", "text", "tool_use")
    assert thinking.thinking == "Hm, the weather."
    assert text.text == "One moment. "
    assert (call.name, call.input) == ("get_weather", {"city": "Zürich", "days": 2})


def test_events_are_in_anthropics_order(parrot: ServerProcess) -> None:
    body = saying(OUTPUTS[2]) | {"tools": [WEATHER], "stream": True}
    lines = send(parrot, **body).body.decode().split("\n\n")
    assert lines.pop() == ""
    kinds = []
    for line in lines:
        name, data = line.split("\n")
        event = MessageEvent.model_validate_json(data.removeprefix("data: "))
        assert name == f"event: {event.type}"
        if event.type != "content_block_delta":
            kinds.append(event.type)
    block = ["content_block_start", "content_block_stop"]
    assert kinds == ["message_start", "ping", *block * 3, "message_delta", "message_stop"]


def test_thinking_can_be_left_out(client: anthropic.Anthropic) -> None:
    thinking: Any
    for thinking in (
        {"type": "disabled"},
        {"type": "adaptive", "display": "omitted"},
        {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    ):
        reply = client.messages.create(**saying(OUTPUTS[3]), thinking=thinking)
        assert [block.type for block in reply.content] == ["text"]


def test_why_a_message_ends(parrot: ServerProcess) -> None:
    cut = send(parrot, **saying("A long answer.") | {"max_tokens": 6}).json
    MessageBody.model_validate(cut)
    assert (cut["stop_reason"], cut["stop_sequence"]) == ("max_tokens", None)
    assert cut["content"] == [{"type": "text", "text": "A long"}]
    full = {"role": "user", "content": "x" * 199_980}
    answer = send(parrot, messages=[full], max_tokens=2**31 - 1).json
    assert answer["stop_reason"] == "model_context_window_exceeded"
    assert answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"] == 200_000


def test_a_call_that_is_cut_is_no_tool_use(client: anthropic.Anthropic) -> None:
    arguments = saying(CALL) | {"tools": [WEATHER], "max_tokens": 62}
    whole = client.messages.create(**arguments)
    with client.messages.stream(**arguments) as stream:
        assert comparable(stream.get_final_message()) == comparable(whole)
    assert whole.stop_reason == "max_tokens"
    [block] = whole.content
    assert block.type == "tool_use"
    assert set(block.input) <= {"city"}


def test_one_call_at_a_time(client: anthropic.Anthropic) -> None:
    reply = client.messages.create(
        **saying(OUTPUTS[1]),
        tools=[WEATHER],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )
    assert [block.type for block in reply.content] == ["text", "tool_use"]
    none = client.messages.create(**saying(CALL), tools=[WEATHER], tool_choice={"type": "none"})
    assert [block.type for block in none.content] == ["text"]


def test_the_last_message_of_the_assistant_is_continued(parrot: ServerProcess) -> None:
    messages = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": script("Yes")}]
    body = saying("") | {"messages": messages}
    assert send(parrot, **body).json["content"] == [{"type": "text", "text": "Yes"}]


def test_tokens_are_counted_as_they_are_sent(client: anthropic.Anthropic) -> None:
    arguments: Any = {
        "model": "parrot",
        "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi. <eos>"}]}],
        "tools": [WEATHER],
    }
    counted = client.messages.count_tokens(**arguments).input_tokens
    usage = client.messages.create(**arguments, max_tokens=1).usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    long: Any = [{"role": "user", "content": "x" * 300_000}]
    counted = client.messages.count_tokens(model="parrot", messages=long).input_tokens
    assert counted > 300_000  # more than the context has


def test_blocks_become_what_templates_read(parrot: ServerProcess) -> None:
    """The same prompt as a chat completion's with the same turns."""
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "warm"}
    failed = {**result, "tool_use_id": "c2", "content": [{"type": "text", "text": "no"}]}
    call = {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Bern"}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Hm"}, call, {**call, "id": "c2"}],
        },
        {"role": "user", "content": [result, {**failed, "is_error": True}, text("And?")]},
    ]
    counted = send(parrot, "/v1/messages/count_tokens", messages=messages, system="S").json
    function = {"name": "get_weather", "arguments": '{"city": "Bern"}'}
    chat = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Hm",
            "tool_calls": [
                {"id": f"c{n}", "type": "function", "function": function} for n in (1, 2)
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "warm"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no"},
        {"role": "user", "content": "And?"},
    ]
    same = post(
        parrot.url,
        "/v1/chat/completions",
        {"messages": chat, "max_tokens": 1},
        Authorization=f"Bearer {KEY}",
    )
    assert counted["input_tokens"] == same.json["usage"]["prompt_tokens"]


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "messages[0].content[0].tool_use_id",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "c",
                                "content": [{"type": "image"}],
                            }
                        ],
                    }
                ]
            },
            "messages[0].content[0].content[0].type",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}],
                    }
                ]
            },
            "messages[0].content",
        ),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        (
            {"tools": [{"name": "f", "input_schema": {"type": "string"}}]},
            "tools[0].input_schema.type",
        ),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "auto", "x": 1}}, "tool_choice.x"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "nonsense"}}}},
            "output_config.format.schema",
        ),
        ({"stop_sequences": ["x" * 257]}, "stop_sequences[0]"),
        ({"temperature": -1}, "temperature"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"speed": "fast"}, "speed"),
        ({"something_new": 1}, "something_new"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_refused_by_name(
    parrot: ServerProcess, body: dict[str, Any], param: str
) -> None:
    given = {"messages": [{"role": "user", "content": "Hi."}], "max_tokens": 4, **body}
    answer = send(parrot, **given)
    assert (answer.status, answer.error["param"]) == (400, param)
    MessageError.model_validate(answer.json)
    assert answer.error["type"] == "invalid_request_error"
    if "max_tokens" not in body and "stop_sequences" not in body and "temperature" not in body:
        del given["max_tokens"]
        counted = send(parrot, "/v1/messages/count_tokens", **given)
        if not param.startswith("output_config"):  # of no effect on the number of tokens
            assert (counted.status, counted.error["param"]) == (400, param)


def test_errors_have_anthropics_types(parrot: ServerProcess, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError) as refused:
        client.with_options(api_key="wrong").messages.create(**saying("Hi."))
    assert refused.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**saying("Hi.") | {"model": "no-such-model"})
    assert missing.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError) as long:
        client.messages.create(**saying("Hi.") | {"messages": [user("Hi.")] * 400})
    error = long.value.body["error"]  # type: ignore[index]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    wrong = request(parrot.url, "GET", "/v1/messages", X_Api_Key=KEY)
    assert (wrong.status, wrong.json["type"]) == (405, "error")
    nothing = request(parrot.url, "POST", "/v1/messages/batches", X_Api_Key=KEY)
    assert (nothing.status, nothing.error["type"]) == (404, "not_found_error")


def test_a_key_is_accepted_in_either_header(parrot: ServerProcess) -> None:
    body = {"messages": [{"role": "user", "content": "Hi."}]}
    path = "/v1/messages/count_tokens"
    for headers in (
        {"X_Api_Key": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"X_Api_Key": "none", "Authorization": f"Bearer {KEY}"},
        {"X_Api_Key": KEY, "Authorization": "Bearer none"},
        {"X_Api_Key": KEY, "Anthropic_Version": "2023-06-01", "Anthropic_Beta": "x"},
    ):
        assert post(parrot.url, path, body, **headers).status == 200
    for headers in ({}, {"X_Api_Key": "none"}, {"X_Api_Key": ""}, {"Authorization": KEY}):
        assert post(parrot.url, path, body, **headers).status == 401
    assert request(parrot.url, "GET", "/v1/models", X_Api_Key=KEY).status == 200
