"""docs/api.md lists the same fields as the code."""

import json
from collections.abc import Iterator
from pathlib import Path

from headrace.core.generation.sampling_params import MAX_BAD_WORDS, MAX_LOGPROB_TOKEN_IDS
from headrace.server.api.schemas import requests as schemas
from headrace.server.api.schemas.field_types import MAX_PROMPT_TOKENS
from headrace.server.api.schemas.requests import ChatCompletionRequest, CompletionRequest
from headrace.server.api.schemas.unsupported_fields import (
    IGNORED,
    REFUSED,
    REFUSED_IN_MESSAGES,
    Endpoint,
)
from headrace.server.http.body_model import MAX_DEPTH, MAX_VALUES
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
ENDPOINTS = {
    "both": Endpoint.BOTH,
    "completions": Endpoint.COMPLETIONS,
    "chat": Endpoint.CHAT,
    "a message": None,
}


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of a table's rows, without its header."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def code(cell: str) -> list[str]:
    return cell.split("`")[1::2]


def unsupported_requests(cell: str) -> Iterator[tuple[str, dict[str, object]]]:
    """One request per name in a cell of the table "Not supported yet"."""
    for segment in cell.split(";"):
        names = code(segment)
        if names[0].startswith("/"):
            yield from ((name, {}) for name in names)
        elif "content parts" in segment:
            for kind in names:
                yield chat({"role": "user", "content": [{"type": kind}]})
        elif "messages" in segment:
            role, *fields = names
            yield chat({"role": role, "content": "5"})
            for name in fields:
                yield chat({"role": "assistant", name: [{}]})
        else:
            for name in names:
                yield "/v1/completions", {"prompt": "a", name: [{}]}
                yield chat({"role": "user", "content": "a"}, **{name: [{}]})


def chat(message: dict[str, object], **fields: object) -> tuple[str, dict[str, object]]:
    return "/v1/chat/completions", {"messages": [message], **fields}


def test_unsupported_values_are_refused(server: ServerProcess) -> None:
    num_requests = 0
    for _, cell, response in rows(section("Not supported yet")):
        status, error_code = response.split()
        for path, body in unsupported_requests(cell):
            answer = post(server.url, path, body)
            assert (answer.status, answer.error["code"]) == (int(status), *code(error_code)), body
            num_requests += 1
    assert num_requests > 50


def test_fields_that_are_not_supported_yet_are_refused_fields() -> None:
    named = {
        name
        for _, cell, _ in rows(section("Not supported yet"))
        for name in code(cell.split(";")[0])
        if "content parts" not in cell
    }
    refused = {field.name for field in REFUSED}
    assert {name for name in named if not name.startswith("/")} <= refused


def test_supported_fields() -> None:
    documented = set()
    for names, endpoint, _ in rows(section("Supported fields")):
        kind = ENDPOINTS[endpoint]
        assert kind is not None
        documented |= {(name, each) for name in code(names) for each in kind}
    assert documented == {
        (name, endpoint)
        for model, endpoint in (
            (CompletionRequest, Endpoint.COMPLETIONS),
            (ChatCompletionRequest, Endpoint.CHAT),
        )
        for name in model.model_fields
    }


def test_refused_fields_with_their_neutral_values() -> None:
    documented = [
        (name, ENDPOINTS[endpoint], [json.loads(value) for value in code(taken)])
        for endpoint, taken, names in rows(section("Refused and ignored fields"))
        for name in code(names)
    ]
    in_code = [(field.name, field.endpoint, list(field.neutral)) for field in REFUSED]
    in_messages = [(name, None, list(field.neutral)) for name, field in REFUSED_IN_MESSAGES.items()]
    assert sorted(map(repr, documented)) == sorted(map(repr, [*in_code, *in_messages]))


def test_ignored_fields() -> None:
    text = section("Refused and ignored fields").split("\nIgnored:\n")[1]
    assert sorted(code(text)) == sorted(IGNORED)


def test_limits() -> None:
    for bound in (
        *(
            schemas.MAX_MESSAGES,
            schemas.MAX_PROMPTS,
        ),
        *(
            schemas.MAX_CONTENT_PARTS,
            schemas.MAX_MESSAGE_FIELDS,
            schemas.MAX_LOGIT_BIASES,
        ),
        *(
            schemas.MAX_STOP_STRINGS,
            schemas.MAX_STOP_STRING_LENGTH,
            schemas.MAX_CHOICES,
        ),
        *(
            schemas.MAX_STOP_TOKEN_IDS,
            schemas.MAX_TEMPLATE_VARIABLES,
            schemas.MAX_DOCUMENTS,
            schemas.MAX_TEMPLATE_LENGTH,
            MAX_BAD_WORDS,
            MAX_LOGPROB_TOKEN_IDS,
            MAX_PROMPT_TOKENS,
            MAX_DEPTH,
            MAX_VALUES,
        ),
    ):
        assert f"{bound:,}" in section("Supported fields")
