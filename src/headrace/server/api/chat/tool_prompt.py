"""Tools in the prompt of a model whose chat template has no tools.

The system message describes them, and asks for calls in JSON between the format's markers. Calls
and results of earlier turns are written into the messages.
"""

import json
from collections.abc import Sequence

from headrace.server.http.json_body import JsonObject
from headrace.server.parsing.tool_format import ToolFormat


def write_tools(
    messages: Sequence[JsonObject],
    tools: Sequence[JsonObject] | None,
    tool_format: ToolFormat,
    *,
    refuses_system: bool,
) -> list[JsonObject]:
    """The messages with tools, calls and results as text.

    refuses_system: the template accepts no system message; the first user message has the text.
    """
    begin, end = _markers(tool_format)
    written: list[JsonObject] = []
    is_result = False
    for message in messages:
        was_result, is_result = is_result, message["role"] == "tool"
        if is_result and was_result:
            written[-1]["content"] += "\n" + _result(message)
        elif is_result:
            written.append({"role": "user", "content": _result(message)})
        elif message.get("tool_calls"):
            written.append(_with_calls(message, begin, end))
        else:
            written.append(dict(message))
    if tools:
        _describe(written, _description(tools, begin, end), refuses_system=refuses_system)
    return written


def _markers(tool_format: ToolFormat) -> tuple[str, str]:
    begins, closings = tool_format.begins, tool_format.closings
    if tool_format.may_be_bare or not begins:
        return "", ""
    return f"{begins[0]}\n", f"\n{closings[-1]}" if closings else ""


def _description(tools: Sequence[JsonObject], begin: str, end: str) -> str:
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    call = '{"name": "the function\'s name", "arguments": {"parameter": "value"}}'
    return (
        "# Tools\n\nYou can call functions. These are their signatures, one JSON object per line:\n"
        f"<tools>\n{lines}\n</tools>\n\n"
        "To call a function, answer with a JSON object that has its name and its arguments, in "
        f"this form, once for each call:\n{begin}{call}{end}"
    )


def _describe(messages: list[JsonObject], text: str, *, refuses_system: bool) -> None:
    role = "user" if refuses_system else "system"
    if messages and messages[0]["role"] == role:
        first = messages[0]
        content = first["content"]
        parts = (content, text) if role == "system" else (text, content)
        if isinstance(content, list):
            added = {"type": "text", "text": text}
            first["content"] = [*content, added] if role == "system" else [added, *content]
        else:
            first["content"] = "\n\n".join(filter(None, parts))
    else:
        messages.insert(0, {"role": role, "content": text})


def _with_calls(message: JsonObject, begin: str, end: str) -> JsonObject:
    calls = [
        begin
        + json.dumps(
            {"name": call["function"]["name"], "arguments": call["function"]["arguments"]},
            ensure_ascii=False,
        )
        + end
        for call in message["tool_calls"]
    ]
    text = "\n".join(filter(None, [_text(message), *calls]))
    return {**{key: message[key] for key in message if key != "tool_calls"}, "content": text}


def _result(message: JsonObject) -> str:
    return f"<tool_response>\n{_text(message)}\n</tool_response>"


def _text(message: JsonObject) -> str:
    content = message["content"]
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content)
    return str(content)
