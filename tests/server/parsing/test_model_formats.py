"""Which formats a model has, by its chat template and by the options."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from headrace.core.errors import InvalidParameterError
from headrace.engine.rendering.tool_support import detect_tool_support
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.parsing.formats import (
    REASONING_FORMATS,
    TOOL_FORMATS,
    check_reasoning_parser,
    check_tool_call_parser,
    reasoning_format,
    tool_format,
)
from headrace.server.parsing.model_formats import ModelFormats

PAGE = (Path(__file__).parents[3] / "docs" / "tools.md").read_text()
TOOLS = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}"
TEMPLATES = {
    "hermes": TOOLS + "<tool_call>\n{{ call | tojson }}\n</tool_call>",
    "qwen3_coder": TOOLS + "<tool_call>\n<function=name>\n<parameter=key>\n</tool_call>",
    "glm45": TOOLS + "<tool_call>{{ name }}<arg_key>{{ key }}</arg_key></tool_call>",
    "deepseek_v3": TOOLS + "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function\n```json\n",
    "deepseek_v31": TOOLS + "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{{ name }}",
    "kimi_k2": TOOLS + "<|tool_calls_section_begin|><|tool_call_begin|>{{ id }}",
    "mistral": TOOLS + "[AVAILABLE_TOOLS][TOOL_CALLS]",
    "llama3_json": TOOLS + '{"name": function name, "parameters": dictionary of argument name}',
    "pythonic": TOOLS + "Respond as [func_name1(params_name1=params_value1)]",
    "openai": "<|start|>assistant<|channel|>final<|message|>{{ messages }}",
    "gemma": TOOLS + "```tool_code\n```",
    "functiongemma": TOOLS + "<start_function_call>call:",
    "gemma4": TOOLS + "<|tool_call>call:",
    "granite": TOOLS + "<|tool_call|>{{ calls }}",
    "phi4_mini_json": TOOLS + "<|tool_call|>{{ calls }}<|/tool_call|>",
    "minimax_m2": TOOLS + "<minimax:tool_call><invoke name=",
    "seed_oss": TOOLS + "<seed:tool_call><function=x><parameter=y>",
    "jamba": TOOLS + "<tool_calls>[]</tool_calls>",
    "internlm": TOOLS + "<|action_start|><|plugin|>",
}


def formats_of(template: str | None, **options: str) -> ModelFormats:
    return ModelFormats(template, Tokenizer(Backend(BPE())), **options)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_shows_the_format_of_calls(name: str) -> None:
    calls = formats_of(TEMPLATES[name]).calls
    assert calls is not None
    assert calls.name == name


@pytest.mark.parametrize("template", [None, "", "{{ messages }}", TOOLS, "[TOOL_CALLS]", "{% if"])
def test_a_template_that_shows_none_has_the_default(template: str | None) -> None:
    calls = formats_of(template).calls
    assert calls is not None
    assert calls.name == "hermes"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ '<think>\\n' }}", "think"),
        ("{{ content.split('</think>')[-1] }}", "think"),
        ("[THINK]", "mistral"),
        ("<|channel>thought<channel|>", "gemma4"),
        ("Here is my thought process:", "granite"),
        ("{{ messages }}", None),
        (TEMPLATES["openai"], None),
    ],
)
def test_the_template_shows_the_format_of_reasoning(template: str, name: str | None) -> None:
    found = formats_of(template).reasoning
    assert (found and found.name) == name


def test_options_override_the_template() -> None:
    found = formats_of(
        TEMPLATES["hermes"], tool_call_parser="mistral", reasoning_parser="deepseek_r1"
    )
    assert found.calls is tool_format("mistral")
    assert found.reasoning is reasoning_format("think")
    none = formats_of(
        TEMPLATES["hermes"] + "<think>", tool_call_parser="none", reasoning_parser="none"
    )
    assert none.syntax(with_calls=True).is_plain
    assert formats_of(None, reasoning_parser="openai_gptoss").calls is tool_format("openai")


def test_a_prompt_may_open_a_block_of_reasoning() -> None:
    found = formats_of("<think>")
    assert found.opens_reasoning("[user]Hi[assistant]<think>\n")
    assert not found.opens_reasoning("[user]<think>[assistant]")
    assert not found.opens_reasoning("[assistant]<think>\n\n</think>\n\n")


def test_names_are_distinct_and_known() -> None:
    for rows in (TOOL_FORMATS, REASONING_FORMATS):
        names = [name for row in rows for name in (row.name, *row.aliases)]
        assert len(set(names)) == len(names)
    for name in ("none", "hermes", "openai", "qwen3_xml", "llama4_pythonic"):
        check_tool_call_parser("tool_call_parser", name)
    for name in ("none", "qwen3", "openai_gptoss"):
        check_reasoning_parser("reasoning_parser", name)
    with pytest.raises(InvalidParameterError):
        check_tool_call_parser("tool_call_parser", "")
    with pytest.raises(InvalidParameterError):
        check_reasoning_parser("reasoning_parser", "hermes")


def test_the_page_lists_the_formats() -> None:
    table = PAGE.split("| `--tool-call-parser` |")[1].split("\n\n")[0]
    listed = [line.split("`")[1] for line in table.splitlines()[2:]]
    assert listed == [each.name for each in TOOL_FORMATS]
    reasoning = PAGE.split("| `--reasoning-parser` |")[1].split("\n\n")[0]
    assert {each.name for each in REASONING_FORMATS} <= set(reasoning.split("`"))


@pytest.mark.parametrize(
    ("template", "are_text"),
    [
        ("{{ call.function.arguments | tojson }}", False),
        ("{% for k, v in call.arguments.items() %}{% endfor %}", False),
        ("{{ call['arguments'] if call['arguments'] is string else '' }}", False),
        ("{% set a = call.arguments %}{{ '<' + a }}{{ a | tojson }}", False),
        ("{{ '```json\\n' + tool['function']['arguments'] + '\\n```' }}", True),
        ("{% set a = call.arguments %}{{ '<' ~ a }}", True),
        ("{{ call.function.arguments }}", True),
        ("{{ messages }}", False),
    ],
)
def test_how_a_template_takes_arguments(template: str, are_text: bool) -> None:
    assert detect_tool_support(template).arguments_are_text is are_text


def test_whether_a_template_takes_tools() -> None:
    assert detect_tool_support("{% if not tools is defined %}{% endif %}").reads_tools
    assert not detect_tool_support("{{ message.tools }}").reads_tools
    assert detect_tool_support("{{ raise_exception('System role not supported') }}").refuses_system
