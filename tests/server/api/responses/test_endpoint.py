"""POST /v1/responses with the openai client, on outputs that the tests write."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from headrace.server.api.responses.response_schemas import ResponseBody, ResponseEvent
from headrace.testing.fakes.fake_model import END, script
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, post, request

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
    "strict": None,
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
KEYS = ("sesame", "other")
KEY = {"Authorization": f"Bearer {KEYS[0]}"}


@pytest.fixture(scope="module")
def client(parrot: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{parrot.url}/v1", api_key=KEYS[0], max_retries=0) as client:
        yield client


def saying(output: str) -> dict[str, Any]:
    """Arguments of a request whose output is this text."""
    return {"model": "parrot", "input": script(output), "extra_body": {"stop": END}}


def send(server: ServerProcess, key: str = KEYS[0], **body: Any) -> Answer:
    return post(server.url, "/v1/responses", body, Authorization=f"Bearer {key}")


def say(server: ServerProcess, output: str = "Hi.", key: str = KEYS[0], **body: Any) -> Answer:
    return send(server, key, **{"input": script(output), "stop": END, **body})


def without_ids(output: Any) -> list[dict[str, Any]]:
    return [item.model_copy(update={"id": "", "call_id": ""}).to_dict() for item in output]


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_stream_is_the_whole_response(client: openai.OpenAI, output: str) -> None:
    arguments = saying(output) | {"tools": [WEATHER]}
    whole = client.responses.create(**arguments)
    events = list(client.responses.create(**arguments, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    streamed = events[-1].response
    assert without_ids(streamed.output) == without_ids(whole.output)
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert without_ids(done) == without_ids(whole.output)
    assert whole.status == "completed"
    assert whole.usage is not None
    assert streamed.usage is not None
    assert streamed.usage.output_tokens_details == whole.usage.output_tokens_details
    assert (whole.usage.output_tokens_details.reasoning_tokens > 0) is ("<think>" in output)
    for event in events:
        ResponseEvent.model_validate(event.to_dict())


def test_reasoning_text_and_calls_are_items(client: openai.OpenAI) -> None:
    reply = client.responses.create(**saying(OUTPUTS[2]), tools=[WEATHER])
    reasoning, message, call = reply.output
    assert reasoning.type == "reasoning"
    assert reasoning.content is not None
    assert reasoning.content[0].text == "Hm, the weather."
    assert message.type == "message"
    assert reply.output_text == "One moment. "
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Zürich", "days": 2})


def test_the_clients_stream_helper_gives_the_final_response(client: openai.OpenAI) -> None:
    with client.responses.stream(**saying(OUTPUTS[1]), tools=[WEATHER]) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]


def test_a_response_at_its_limit_is_incomplete(client: openai.OpenAI) -> None:
    arguments = saying("A long answer.") | {"max_output_tokens": 6}
    whole = client.responses.create(**arguments)
    [*_, last] = client.responses.create(**arguments, stream=True)
    assert last.type == "response.incomplete"
    for reply in (whole, last.response):
        assert (reply.status, reply.output_text) == ("incomplete", "A long")
        assert reply.incomplete_details is not None
        assert reply.incomplete_details.reason == "max_output_tokens"
        assert reply.output[0].status == "incomplete"


def test_a_bound_beyond_the_context_is_lowered(parrot: ServerProcess) -> None:
    reply = say(parrot, max_output_tokens=2**31 - 1)
    assert (reply.status, reply.json["status"]) == (200, "completed")


def test_the_request_is_repeated_in_the_response(parrot: ServerProcess) -> None:
    given = {
        "instructions": "Be short.",
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "top_p": 0.9,
        "tools": [WEATHER],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "max_output_tokens": 50,
        "user": "me",
        "truncation": "auto",
        "store": False,
    }
    reply = say(parrot, **given, reasoning={"effort": "low"}).json
    ResponseBody.model_validate(reply)
    tool = {**WEATHER, "strict": False}
    assert {name: reply[name] for name in given} == {**given, "tools": [tool]}
    assert reply["reasoning"] == {"effort": "low", "summary": None}
    assert reply["usage"]["total_tokens"] == (
        reply["usage"]["input_tokens"] + reply["usage"]["output_tokens"]
    )


def test_log_probabilities_are_of_the_text(client: openai.OpenAI) -> None:
    arguments = saying("Hi there.") | {
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 1,
    }
    whole = client.responses.create(**arguments)
    *_, last = client.responses.create(**arguments, stream=True)
    for reply in (whole, last.response):
        part = reply.output[0].content[0]
        assert "".join(each.token for each in part.logprobs).startswith("Hi there.")
        assert all(len(each.top_logprobs) == 1 for each in part.logprobs)
    assert client.responses.create(**saying("Hi.")).output[0].content[0].logprobs == []  # type: ignore[union-attr]


def test_a_conversation_goes_on_from_a_stored_response(client: openai.OpenAI) -> None:
    first = client.responses.create(**saying(OUTPUTS[1]), tools=[WEATHER])
    [_, one, other] = first.output
    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "warm"}
        for call in (one, other)
    ]
    user = {"role": "user", "content": script("It is warm.")}
    arguments = saying("") | {"input": [*results, user], "previous_response_id": first.id}
    second = client.responses.create(**arguments)
    assert second.output_text == "It is warm."
    assert second.previous_response_id == first.id
    by_hand = [
        {"role": "user", "content": saying(OUTPUTS[1])["input"]},
        *(item.to_dict() for item in first.output),
        *results,
        user,
    ]
    same = client.responses.create(**saying("") | {"input": by_hand})
    assert same.usage is not None
    assert second.usage is not None
    assert same.usage.input_tokens == second.usage.input_tokens
    items = list(client.responses.input_items.list(second.id, order="asc", limit=2))
    kinds = ["message", "message", *["function_call"] * 2, *["function_call_output"] * 2, "message"]
    assert [item.type for item in items] == kinds
    newest_first = list(client.responses.input_items.list(second.id, limit=3))
    assert newest_first == items[::-1]
    # Each is complete by itself.
    client.responses.delete(first.id)
    assert client.responses.retrieve(second.id) == second
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_a_streamed_response_is_stored_before_its_end(client: openai.OpenAI) -> None:
    for event in client.responses.create(**saying("Hi."), stream=True):
        if event.type == "response.completed":
            assert client.responses.retrieve(event.response.id) == event.response


def test_a_response_exists_only_for_the_key_that_made_it(parrot: ServerProcess) -> None:
    mine = say(parrot).json["id"]
    path = f"/v1/responses/{mine}"
    other = {"Authorization": f"Bearer {KEYS[1]}"}
    for method in ("GET", "DELETE"):
        assert request(parrot.url, method, path, **other).status == 404
    assert request(parrot.url, "GET", f"{path}/input_items", **other).status == 404
    continued = say(parrot, key=KEYS[1], previous_response_id=mine)
    assert (continued.status, continued.error["code"], continued.error["param"]) == (
        400,
        "previous_response_not_found",
        "previous_response_id",
    )
    assert request(parrot.url, "GET", path, X_Api_Key=KEYS[0]).status == 200
    wrong = request(parrot.url, "PUT", path, **KEY)
    assert (wrong.status, wrong.headers["allow"]) == (405, "DELETE, GET, HEAD")
    assert request(parrot.url, "DELETE", path, **KEY).json["deleted"] is True
    assert request(parrot.url, "GET", path, **KEY).error["code"] == "response_not_found"


def test_what_is_not_to_be_stored_is_not(parrot: ServerProcess) -> None:
    reply = say(parrot, store=False).json
    assert request(parrot.url, "GET", f"/v1/responses/{reply['id']}", **KEY).status == 404


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?stream=true", "stream"),
        ("?starting_after=1", "starting_after"),
        ("?include[]=x", "include"),
        ("/input_items?limit=0", "limit"),
        ("/input_items?limit=101", "limit"),
        ("/input_items?limit=x", "limit"),
        ("/input_items?order=up", "order"),
        ("/input_items?after=nothing", "after"),
    ],
)
def test_what_a_stored_response_has_not_is_refused(
    parrot: ServerProcess, query: str, param: str
) -> None:
    stored = say(parrot).json["id"]
    answer = request(parrot.url, "GET", f"/v1/responses/{stored}{query}", **KEY)
    assert (answer.status, answer.error["param"]) == (400, param)


def test_the_oldest_turns_make_room(parrot: ServerProcess) -> None:
    turn = {"role": "user", "content": "x" * 90_000}
    system = {"role": "developer", "content": "y" * 100}
    last = {"role": "user", "content": script("Hi.")}
    conversation = [system, turn, {"role": "assistant", "content": "z"}, turn, turn, last]
    refused = send(parrot, input=conversation, stop=END)
    assert (refused.status, refused.error["code"], refused.error["param"]) == (
        400,
        "context_length_exceeded",
        "input",
    )
    answer = send(parrot, input=conversation, stop=END, truncation="auto")
    assert answer.json["output"][0]["content"][0]["text"] == "Hi."
    # The system's message and the last two long turns.
    assert 180_000 < answer.json["usage"]["input_tokens"] < 181_000
    too_long = [{"role": "user", "content": "x" * 250_000}]
    assert send(parrot, input=too_long, truncation="auto").error["param"] == "input"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [WEATHER, {"type": "mcp", "server_label": "x"}]}, "tools[1].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        (
            {"tools": [{**WEATHER, "parameters": {"type": "string"}}]},
            "tools[0].parameters.type",
        ),
        ({"tools": [WEATHER], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}},
            "tool_choice.name",
        ),
        (
            {
                "tools": [WEATHER],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "x"}],
                },
            },
            "tool_choice.tools[0].name",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"top_logprobs": 2}, "top_logprobs"),
        (
            {"include": ["message.output_text.logprobs"], "top_logprobs": 21},
            "top_logprobs",
        ),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        (
            {
                "text": {
                    "format": {"type": "json_schema", "name": "x", "schema": {"type": "nonsense"}}
                }
            },
            "text.format.schema",
        ),
        (
            {
                "text": {
                    "format": {"type": "json_schema", "name": "x", "schema": {"maximum": 2**70}}
                }
            },
            "text.format.schema",
        ),
        ({"text": {"verbosity": "high"}}, "text.verbosity"),
        ({"text": {"x": 1}}, "text.x"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tokens": 4}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"stream_options": {}}, "stream_options"),
        ({"min_tokens": 9, "max_output_tokens": 8}, "min_tokens"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
        ),
        ({"input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"something_new": 1}, "something_new"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_refused_by_name(
    parrot: ServerProcess, body: dict[str, Any], param: str
) -> None:
    answer = send(parrot, **{"input": "Hi.", "max_output_tokens": 4, **body})
    assert (answer.status, answer.error["param"]) == (400, param)


def test_unicode_in_every_field_comes_back(parrot: ServerProcess) -> None:
    text = "é€\u202e\x00𝄞"
    reply = say(parrot, "é", metadata={"k": text}, user=text, instructions=text)
    assert (reply.json["metadata"], reply.json["user"]) == ({"k": text}, text)
    stored = request(parrot.url, "GET", f"/v1/responses/{reply.json['id']}", **KEY)
    assert stored.json == reply.json
