"""LlamaIndex' OpenAILike; prints what it got as JSON. Arguments: the base URL and an API key."""

import asyncio
import json
import sys

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

PROMPT = "The capital of France is"
MESSAGES = [ChatMessage(role="user", content="What is the capital of France?")]


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=20)
    country: str = Field(max_length=20)


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}."


def main(base_url, api_key):
    common = {
        "model": "smollm2-135m",
        "api_base": base_url,
        "api_key": api_key,
        "temperature": 0,
        "max_tokens": 60,
        "max_retries": 0,
        "timeout": 120,
        "context_window": 1024,
    }
    text = OpenAILike(is_chat_model=False, **common)
    chat = OpenAILike(is_chat_model=True, is_function_calling_model=True, **common)
    completed = text.complete(PROMPT)
    completed_stream = list(text.stream_complete(PROMPT))
    whole = chat.chat(MESSAGES)
    streamed = list(chat.stream_chat(MESSAGES))
    awaited = asyncio.run(chat.achat(MESSAGES))
    tool = FunctionTool.from_defaults(get_weather)
    called = chat.chat_with_tools(
        [tool],
        user_msg="The weather in Paris?",
        tool_required=True,
        allow_parallel_tool_calls=False,
    )
    [call] = chat.get_tool_calls_from_response(called)
    city = chat.as_structured_llm(City).chat(MESSAGES).raw
    return {
        "completed": completed.text,
        "completed_stream": completed_stream[-1].text,
        "whole": whole.message.content,
        "streamed": streamed[-1].message.content,
        "num_chunks": len(streamed),
        "awaited": awaited.message.content,
        "call": {"name": call.tool_name, "arguments": call.tool_kwargs},
        "city": city.model_dump(),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
