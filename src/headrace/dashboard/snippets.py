"""Commands and programs that use a service, to be copied."""

import json
import shlex
from dataclasses import dataclass

KEY_VARIABLE = "HEADRACE_API_KEY"
_PROMPT = "Name three rivers."


@dataclass(frozen=True, slots=True)
class Snippets:
    """They work as they are; if the service has keys, after `KEY_VARIABLE` is set."""

    curl: str
    python: str


def snippets(endpoint: str, model: str, *, needs_key: bool) -> Snippets:
    """``endpoint``: an address of the service that every client on this machine can resolve."""
    return Snippets(
        curl=_curl(endpoint, model, needs_key=needs_key),
        python=_python(endpoint, model, needs_key=needs_key),
    )


def _curl(endpoint: str, model: str, *, needs_key: bool) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": _PROMPT}]}
    lines = [
        f"curl {shlex.quote(f'{endpoint}/v1/chat/completions')}",
        "-H 'content-type: application/json'",
        *([f'-H "authorization: Bearer ${KEY_VARIABLE}"'] if needs_key else []),
        f"-d {shlex.quote(json.dumps(body))}",
    ]
    return " \\\n  ".join(lines)


def _python(endpoint: str, model: str, *, needs_key: bool) -> str:
    key = f'os.environ["{KEY_VARIABLE}"]' if needs_key else '"none"'
    first = "import os\n\n" if needs_key else ""
    return f"""{first}from openai import OpenAI

client = OpenAI(base_url={json.dumps(f"{endpoint}/v1")}, api_key={key})
stream = client.chat.completions.create(
    model={json.dumps(model)},
    messages=[{{"role": "user", "content": {json.dumps(_PROMPT)}}}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)"""
