"""LiteLLM as a client; prints what it got as JSON. Arguments: the base URL and an API key."""

import asyncio
import json
import sys

import litellm

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def main(base_url, api_key):
    litellm.suppress_debug_info = True
    common = {
        "model": "openai/smollm2-135m",
        "api_base": base_url,
        "api_key": api_key,
        "temperature": 0,
        "max_tokens": 60,
        "num_retries": 0,
        "timeout": 120,
    }
    whole = litellm.completion(messages=QUESTION, **common)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(messages=QUESTION, **options, **common))
    streamed = litellm.stream_chunk_builder(chunks, messages=QUESTION)
    awaited = asyncio.run(litellm.acompletion(messages=QUESTION, n=2, **common))
    calling = {"messages": QUESTION, "tools": [TOOL], "tool_choice": "required"}
    called = litellm.completion(**calling, parallel_tool_calls=False, **common)
    pieces = litellm.completion(**calling, parallel_tool_calls=False, stream=True, **common)
    streamed_call = litellm.stream_chunk_builder(list(pieces))
    schema = {"name": "person", "strict": True, "schema": SCHEMA}
    constrained = litellm.completion(
        messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": schema},
        **common,
    )
    text = litellm.text_completion(
        **{**common, "model": "text-completion-openai/smollm2-135m", "max_tokens": 8},
        prompt="The capital of France is",
    )
    try:
        litellm.completion(messages=QUESTION, **{**common, "top_p": 9})
        refused = None
    except litellm.BadRequestError as error:
        refused = error.status_code
    try:
        litellm.completion(messages=QUESTION, **{**common, "api_key": "wrong"})
        unauthorized = None
    except litellm.AuthenticationError as error:
        unauthorized = error.status_code
    return {
        "whole": whole.choices[0].message.content,
        "usage": whole.usage.model_dump(),
        "finish_reason": whole.choices[0].finish_reason,
        "streamed": streamed.choices[0].message.content,
        "streamed_usage": streamed.usage.model_dump(),
        "num_chunks": len(chunks),
        "awaited": [choice.message.content for choice in awaited.choices],
        "call": _call(called),
        "call_finish_reason": called.choices[0].finish_reason,
        "streamed_call": _call(streamed_call),
        "constrained": json.loads(constrained.choices[0].message.content),
        "text": text.choices[0].text,
        "refused": refused,
        "unauthorized": unauthorized,
    }


def _call(response):
    [call] = response.choices[0].message.tool_calls
    return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
