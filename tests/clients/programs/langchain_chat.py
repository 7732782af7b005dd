"""LangChain's ChatOpenAI; prints what it got from each server as JSON.

Arguments: an API key, and base URLs.
"""

import asyncio
import json
import sys

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

QUESTION = "What is the capital of France?"


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=20)
    country: str = Field(max_length=20)


@tool
def get_weather(city: str, days: int) -> str:
    """The weather of a city."""
    return f"Sunny in {city} for {days} days."


def main(base_url, api_key):
    common = {"base_url": base_url, "api_key": api_key, "max_retries": 0, "timeout": 120}
    model = ChatOpenAI(model="smollm2-135m", temperature=0, max_tokens=60, **common)
    whole = model.invoke(QUESTION)
    chunks = list(model.stream(QUESTION, stream_usage=True))
    streamed = sum(chunks[1:], chunks[0])
    batch = asyncio.run(model.abatch([QUESTION, [("system", "Be brief."), ("human", QUESTION)]]))

    parsed = {
        method: model.with_structured_output(City, method=method).invoke(QUESTION)
        for method in ("json_schema", "function_calling")
    }
    caller = model.bind_tools([get_weather], tool_choice="any", parallel_tool_calls=False)
    called = caller.invoke("What is the weather in Paris for 3 days?")
    named = model.bind_tools([get_weather], tool_choice="get_weather")
    pieces = list(named.stream("What is the weather in Paris?"))
    streamed_call = sum(pieces[1:], pieces[0])
    [call] = called.tool_calls
    history = [HumanMessage("The weather?"), called, ToolMessage("Sunny.", tool_call_id=call["id"])]
    after_tool = model.bind_tools([get_weather], tool_choice="none").invoke(history)
    with_logprobs = model.bind(logprobs=True, top_logprobs=2, max_tokens=3).invoke(QUESTION)
    return {
        "whole": whole.content,
        "usage": whole.usage_metadata,
        "finish_reason": whole.response_metadata["finish_reason"],
        "model": whole.response_metadata["model_name"],
        "streamed": streamed.content,
        "streamed_usage": streamed.usage_metadata,
        "num_chunks": len(chunks),
        "batch": [message.content for message in batch],
        "parsed": {method: value.model_dump() for method, value in parsed.items()},
        "call": {"name": call["name"], "args": call["args"], "id": call["id"]},
        "call_finish_reason": called.response_metadata["finish_reason"],
        "streamed_call": {key: streamed_call.tool_calls[0][key] for key in ("name", "args")},
        "after_tool": isinstance(after_tool, AIMessage) and not after_tool.tool_calls,
        "logprobs": [
            len(entry["top_logprobs"])
            for entry in with_logprobs.response_metadata["logprobs"]["content"]
        ],
    }


if __name__ == "__main__":
    key, *urls = sys.argv[1:]
    print(json.dumps([main(url, key) for url in urls]))
