import ast
import json
import shlex

import pytest

from headrace.dashboard.snippets import snippets

MODELS = ["smollm2-135m", 'org/it\'s "quoted" $HOME `x`', "모델"]


@pytest.mark.parametrize("model", MODELS)
def test_the_curl_command_is_one_command_with_a_json_body(model: str) -> None:
    words = shlex.split(snippets("http://localhost:8080/svc", model, needs_key=False).curl)
    words = [word for word in words if word != "\n"]
    assert words[:2] == ["curl", "http://localhost:8080/svc/v1/chat/completions"]
    assert json.loads(words[words.index("-d") + 1])["model"] == model
    assert "authorization" not in " ".join(words)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("needs_key", [False, True])
def test_the_python_program_parses(model: str, needs_key: bool) -> None:
    program = snippets("http://localhost:8080/svc", model, needs_key=needs_key).python
    names = [node.value for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Constant)]
    assert model in names
    assert ("HEADRACE_API_KEY" in names) == needs_key


def test_a_key_comes_from_the_environment() -> None:
    curl = snippets("http://localhost:8080/svc", "m", needs_key=True).curl
    assert '-H "authorization: Bearer $HEADRACE_API_KEY"' in curl
