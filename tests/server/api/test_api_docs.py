"""What docs/api.md lists as not supported is refused."""

from collections.abc import Iterator
from pathlib import Path

from headrace.server.api.schemas.unsupported_fields import REFUSED
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


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
    assert num_requests > 40


def test_fields_that_are_not_supported_yet_are_refused_fields() -> None:
    named = {
        name
        for _, cell, _ in rows(section("Not supported yet"))
        for name in code(cell.split(";")[0])
        if "content parts" not in cell
    }
    refused = {field.name for field in REFUSED}
    assert {name for name in named if not name.startswith("/")} <= refused
