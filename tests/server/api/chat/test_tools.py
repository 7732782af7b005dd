"""Tools and reasoning in chat completions, with the openai client.

The parrot repeats the end of its prompt: what a test puts there is the model's output.
"""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from headrace.core.errors import InvalidParameterError
from headrace.server.config import ServerConfig
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

LENGTH = 400
"""Bytes that the parrot repeats."""
END = "<END>"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
SEARCH = {"type": "function", "function": {"name": "search"}}
TOOLS: Any = [WEATHER, SEARCH]
CALL = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}\n</tool_call>'
)
OUTPUTS = [
    CALL,
    f"I will look.\n{CALL}\n{CALL}",
    f"<think>\nHm, the weather.\n</think>\n\nOne moment. {CALL}",
    f"<think>\nI need it: {CALL}",
    "<think>\nEasy.\n</think>\n\nIt is warm.",
    "No tool is needed.",
    '<tool_call>\n{"nome": 5}\n</tool_call>',
    "",
]


@pytest.fixture(scope="module")
def scripted(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    arguments = (
        f"parrot?period={LENGTH}&max_position=200000&num_blocks=20000",
        "--served-model-name",
        "parrot",
    )
    options = ("--tool-call-parser", "hermes", "--reasoning-parser", "qwen3")
    with ServerProcess(
        *arguments,
        *options,
        "--enable-auto-tool-choice",
        command=fake_command,
        start_timeout_s=120.0,
    ) as process:
        yield process


@pytest.fixture(scope="module")
def scripted_client(scripted: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{scripted.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def saying(output: str, *, ending: str = "") -> dict[str, Any]:
    """Arguments of a request whose output is this text. ending: of the prompt."""
    script = output + END
    content = script + "." * (LENGTH - len((script + ending).encode())) + ending
    return {"model": "parrot", "messages": [{"role": "user", "content": content}], "stop": [END]}


def assembled(chunks: list[Any]) -> dict[str, Any]:
    """The message of a stream's chunks, as clients assemble it."""
    content, reasoning, calls = "", "", []
    for chunk in chunks:
        delta = chunk.choices[0].delta
        content += delta.content or ""
        reasoning += (delta.model_extra or {}).get("reasoning", "")
        for call in delta.tool_calls or []:
            if call.index == len(calls):
                assert call.id is not None
                assert call.type == "function"
                assert call.function.name
                assert call.function.arguments == ""
                calls.append([call.function.name, ""])
            else:
                assert (call.id, call.type, call.function.name) == (None, None, None)
            calls[call.index][1] += call.function.arguments
    return {"content": content, "reasoning": reasoning, "calls": calls}


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_stream_is_the_whole_answer(scripted_client: openai.OpenAI, output: str) -> None:
    arguments = saying(output) | {"tools": TOOLS}
    whole = scripted_client.chat.completions.create(**arguments).choices[0]
    chunks = list(scripted_client.chat.completions.create(**arguments, stream=True))
    message = whole.message
    extra = message.model_extra or {}
    assert extra["reasoning"] == extra["reasoning_content"]
    calls = [
        [call.function.name, call.function.arguments]  # type: ignore[union-attr]
        for call in message.tool_calls or []
    ]
    assert assembled(chunks) == {
        "content": message.content or "",
        "reasoning": extra["reasoning"] or "",
        "calls": calls,
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason
    assert whole.finish_reason == ("tool_calls" if calls else "stop")


def test_calls_have_a_name_arguments_and_an_id(scripted_client: openai.OpenAI) -> None:
    reply = scripted_client.chat.completions.create(**saying(OUTPUTS[1]), tools=TOOLS)
    message = reply.choices[0].message
    assert message.content == "I will look.\n"
    assert message.tool_calls is not None
    assert [call.function.name for call in message.tool_calls] == ["get_weather"] * 2  # type: ignore[union-attr]
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Zürich", "days": 2}  # type: ignore[union-attr]
    assert len({call.id for call in message.tool_calls}) == 2


def test_the_clients_own_stream_helper_understands_it(scripted_client: openai.OpenAI) -> None:
    with scripted_client.chat.completions.stream(**saying(CALL), tools=TOOLS) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert json.loads(message.tool_calls[0].function.arguments)["city"] == "Zürich"


def test_without_tools_nothing_is_a_call(scripted_client: openai.OpenAI) -> None:
    for more in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        message = scripted_client.chat.completions.create(**saying(CALL), **more).choices[0].message  # type: ignore[arg-type]
        assert (message.content, message.tool_calls) == (CALL, None)


def test_one_call_at_a_time(scripted_client: openai.OpenAI) -> None:
    reply = scripted_client.chat.completions.create(
        **saying(OUTPUTS[1]), tools=TOOLS, parallel_tool_calls=False
    )
    assert len(reply.choices[0].message.tool_calls or []) == 1


def test_reasoning_may_be_left_out(scripted_client: openai.OpenAI) -> None:
    arguments = saying(OUTPUTS[4]) | {"extra_body": {"include_reasoning": False}}
    whole = scripted_client.chat.completions.create(**arguments).choices[0].message
    assert (whole.content, (whole.model_extra or {})["reasoning"]) == ("It is warm.", None)
    chunks = list(scripted_client.chat.completions.create(**arguments, stream=True))
    assert assembled(chunks)["reasoning"] == ""
    assert assembled(chunks)["content"] == "It is warm."


@pytest.mark.parametrize("fields", [{"n": 2}, {"logprobs": True}, {"return_token_ids": True}])
def test_it_goes_with_other_fields(scripted: ServerProcess, fields: dict[str, Any]) -> None:
    body = saying(OUTPUTS[2]) | {"tools": TOOLS} | fields
    whole = post(scripted.url, "/v1/chat/completions", body).json
    assert {choice["finish_reason"] for choice in whole["choices"]} == {"tool_calls"}
    with openai.OpenAI(base_url=f"{scripted.url}/v1", api_key="none") as client:
        arguments = {key: body[key] for key in body if key != "return_token_ids"}
        extra = {"return_token_ids": True} if "return_token_ids" in fields else {}
        chunks = list(client.chat.completions.create(**arguments, stream=True, extra_body=extra))
    for index, choice in enumerate(whole["choices"]):
        own = [chunk for chunk in chunks if chunk.choices[0].index == index]
        assert assembled(own)["content"] == choice["message"]["content"]
        if "logprobs" in fields:
            num_tokens = sum(
                len(chunk.choices[0].logprobs.content or [])
                for chunk in own
                if chunk.choices[0].logprobs is not None
            )
            assert num_tokens == len(choice["logprobs"]["content"])
        if extra:
            token_ids: list[int] = []
            for chunk in own:
                token_ids += (chunk.choices[0].model_extra or {})["token_ids"] or []
            assert token_ids == choice["token_ids"]


def test_an_output_cut_within_a_call_ends_for_its_length(scripted_client: openai.OpenAI) -> None:
    reply = scripted_client.chat.completions.create(**saying(CALL), tools=TOOLS, max_tokens=60)
    assert reply.choices[0].finish_reason == "length"


def prompt_of(server: ServerProcess, **fields: Any) -> str:
    body = {"max_tokens": 1, "return_token_ids": True, **fields}
    return bytes(post(server.url, "/v1/chat/completions", body).json["prompt_token_ids"]).decode()


def test_a_template_without_tools_gets_them_as_text(scripted: ServerProcess) -> None:
    call = {"name": "get_weather", "arguments": '{"city": "Bern"}'}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "1", "content": "cold"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "wet"}]},
    ]
    prompt = prompt_of(scripted, messages=messages, tools=TOOLS)
    assert prompt.startswith(">[system]Be brief.\n\n# Tools")
    assert '"name": "get_weather"' in prompt
    assert (
        '[assistant]<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n' in prompt
    )
    results = "<tool_response>\ncold\n</tool_response>\n<tool_response>\nwet\n</tool_response>"
    assert prompt.endswith(f"[user]{results}")


def test_a_template_with_tools_gets_them_as_variables(fake_command: tuple[str, ...]) -> None:
    template = (
        "{% for tool in tools or [] %}({{ tool.function.name }}){% endfor %}"
        "{{ reasoning_effort }} {{ enable_thinking }}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ m.name }}"
        "{% for call in m.tool_calls or [] %}"
        "{% for key, value in call.function.arguments.items() %}{{ key }}={{ value }}{% endfor %}"
        "{% endfor %}{% endfor %}"
    )
    call = {"name": "search", "arguments": '{"query": "a"}'}
    messages = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "1", "content": "found"},
    ]
    arguments = ("parrot", "--chat-template", template)
    with ServerProcess(*arguments, command=fake_command, start_timeout_s=120.0) as server:
        prompt = prompt_of(server, messages=messages, tools=TOOLS, reasoning_effort="none")
        named = {"type": "function", "function": {"name": "search"}}
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}
        fewer = prompt_of(server, messages=messages, tools=TOOLS, tool_choice=allowed)
    assert prompt == "(get_weather)(search)none False[user]Go.[assistant]query=a[tool]foundsearch"
    assert fewer.startswith("(search) [user]")


NAMED = {"type": "function", "function": {"name": "search"}}
OTHER = {"type": "function", "function": {"name": "other"}}


def with_parameters(parameters: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
        ),
        ({"tools": [SEARCH, SEARCH]}, "tools[1].function.name"),
        (with_parameters([]), "tools[0].function.parameters"),
        (with_parameters({"type": "array"}), "tools[0].function.parameters.type"),
        (
            with_parameters({"properties": {"a": {"type": "objekt"}}}),
            "tools[0].function.parameters.properties.a.type",
        ),
        (
            with_parameters({"properties": {"a": {"type": {}}}}),
            "tools[0].function.parameters.properties.a.type",
        ),
        (with_parameters({"properties": []}), "tools[0].function.parameters.properties"),
        (with_parameters({"required": [1]}), "tools[0].function.parameters.required"),
        (
            with_parameters({"properties": {"a": {"items": 5}}}),
            "tools[0].function.parameters.properties.a.items",
        ),
        (
            {**with_parameters({"properties": {"a": {"pattern": "("}}}), "tool_choice": "required"},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "maybe", "tools": TOOLS}, "tool_choice"),
        ({"tool_choice": NAMED}, "tool_choice"),
        ({"tool_choice": {"type": "function"}, "tools": TOOLS}, "tool_choice.function"),
        ({"tool_choice": OTHER, "tools": TOOLS}, "tool_choice.function.name"),
        (
            {"tool_choice": {"type": "allowed_tools"}, "tools": TOOLS},
            "tool_choice.allowed_tools",
        ),
        (
            {
                "tools": TOOLS,
                "tool_choice": "required",
                "response_format": {"type": "json_object"},
            },
            "tool_choice",
        ),
        ({"parallel_tool_calls": "x"}, "parallel_tool_calls"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(
    scripted: ServerProcess, fields: dict[str, Any], param: str
) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, **fields}
    response = post(scripted.url, "/v1/chat/completions", body)
    assert response.status == 400
    assert response.error["param"] == param


@pytest.mark.parametrize(
    "arguments",
    ["", "{", '{"a": ', "[1]", '{"a": 1e999}', '{"a": ' + "9" * 40 + "}", '{"a": "\\ud800"}'],
)
def test_arguments_of_an_earlier_call_may_be_anything(
    scripted: ServerProcess, arguments: str
) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    body = {"messages": messages, "max_tokens": 1, "tools": TOOLS}
    assert post(scripted.url, "/v1/chat/completions", body).status == 200


@pytest.mark.parametrize("name", ["tool_call_parser", "reasoning_parser"])
def test_an_unknown_parser_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        ServerConfig(**{name: "nonsense"})
    assert refused.value.param == name
    ServerConfig(**{name: "none"})


@pytest.mark.parametrize("is_strict", [False, True])
def test_calls_of_a_strict_tool_obey_its_schema(
    scripted_client: openai.OpenAI, is_strict: bool
) -> None:
    """The model writes a text where the schema has a number."""
    parameters = {
        "type": "object",
        "properties": {"days": {"type": "integer"}},
        "required": ["days"],
        "additionalProperties": False,
    }
    function = {"name": "forecast", "parameters": parameters, "strict": is_strict}
    wrong = '<tool_call>\n{"name": "forecast", "arguments": {"days": "many"}}\n</tool_call>'
    reply = scripted_client.chat.completions.create(
        **saying(f"Well: {wrong} So be it."),
        tools=[{"type": "function", "function": function}],  # type: ignore[list-item,misc]
        max_tokens=300,
    )
    message = reply.choices[0].message
    [call] = message.tool_calls or []
    [days] = json.loads(call.function.arguments).values()  # type: ignore[union-attr]
    assert isinstance(days, int if is_strict else str)
    assert (message.content or "").startswith("Well: ")


def test_a_hundred_strict_tools_with_long_schemas(scripted_client: openai.OpenAI) -> None:
    properties = {f"parameter_{i}": {"type": "string", "description": "x" * 80} for i in range(10)}
    parameters = {"type": "object", "properties": properties, "additionalProperties": False}
    tools: Any = [
        {
            "type": "function",
            "function": {"name": f"f{i}", "parameters": parameters, "strict": True},
        }
        for i in range(100)
    ]
    assert len(json.dumps(tools)) > 100_000
    reply = scripted_client.chat.completions.create(**saying("Hello."), tools=tools)
    assert reply.choices[0].message.content == "Hello."


def test_structured_outputs_begin_after_the_reasoning_that_the_prompt_opened(
    scripted_client: openai.OpenAI,
) -> None:
    arguments = saying('Let me see.\n</think>{"a": 1}', ending="<think>\n")
    reply = scripted_client.chat.completions.create(
        **arguments, response_format={"type": "json_object"}
    )
    message = reply.choices[0].message
    assert (message.model_extra or {})["reasoning"] == "Let me see."
    assert json.loads(message.content or "") == {"a": 1}


def test_a_required_call_comes_after_the_reasoning_that_the_prompt_opened(
    scripted_client: openai.OpenAI,
) -> None:
    arguments = saying(f"Let me see.\n</think>\n{CALL}", ending="<think>\n")
    reply = scripted_client.chat.completions.create(
        **arguments, tools=TOOLS, tool_choice="required", parallel_tool_calls=False
    )
    message = reply.choices[0].message
    assert (message.model_extra or {})["reasoning"] == "Let me see."
    assert [call.function.name for call in message.tool_calls or []] == ["get_weather"]  # type: ignore[union-attr]
    assert not message.content
