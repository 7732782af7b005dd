"""Prompts from messages, identical to those of transformers."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models
from transformers import PreTrainedTokenizerFast

from headrace.core.errors import InvalidRequestError
from headrace.engine.rendering.chat_template import ChatTemplate, load_chat_template
from headrace.engine.tokenization.tokenizer import Tokenizer, load_tokenizer
from headrace.models.sources.files import ModelFiles

LLAMA_3 = """{{- bos_token }}
{%- if not date_string is defined %}{% set date_string = "26 Jul 2024" %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}{{ t | tojson(indent=4) }}{{ "\\n\\n" }}{% endfor %}
{%- endif %}
{{- system_message }}{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
MISTRAL = """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Roles must alternate user/assistant') }}
{% endif %}
{% if message['role'] == 'user' %}{{ ' [INST] ' + message['content'] + ' [/INST]' }}
{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}
{% endif %}{% endfor %}"""
QWEN = """{%- set ns = namespace(index=messages|length - 1, thinking=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == "user" %}{% set ns.index = index %}{% break %}{% endif %}
{%- endfor %}
{%- if tools %}{{- '<tools>' }}{% for tool in tools %}{{- "\\n" + tool | tojson }}{% endfor %}
{{- '</tools>\\n' }}{% endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {{- '<|im_start|>assistant\\n' }}{% generation %}{{- content }}{% endgeneration %}
        {{- '<|im_end|>\\n' }}
    {%- else %}{% continue %}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
INDENTED = """
  {% for message in messages %}
    {# a remark #}
  {{ message.role }}: {{ message.content }}|{{ pad_token }}|{{ unk_token }}|{{ documents }}
  {% endfor %}
"""
TEMPLATES = {"llama-3": LLAMA_3, "mistral": MISTRAL, "qwen": QWEN, "indented": INDENTED}

CHATS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "What is 1 < 2 & 'so'?"}],
    [
        {"role": "user", "content": " Hé \n"},
        {"role": "assistant", "content": "<think>x</think>\n\nYes"},
        {"role": "user", "content": "Why?"},
    ],
]
WITH_SYSTEM = [{"role": "system", "content": "Be <b>brief</b>."}, *CHATS[1]]
TOOLS = [{"type": "function", "function": {"name": "f<é>", "parameters": {"b": 1, "a": ["&"]}}}]
NAMED = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
MESSAGES = CHATS[0]


def make(source: str | None, own: str | None = None) -> ChatTemplate:
    tokens = {token: index for index, token in enumerate(NAMED.values())}
    backend = Backend(models.WordLevel(tokens, unk_token="<s>"))
    tokenizer = Tokenizer(backend, named_tokens=NAMED, chat_template=own)
    files = ModelFiles(name="little", format="huggingface", path=Path("little"))
    return ChatTemplate(files, tokenizer, source)


def transformers_render(source: str, messages: list[dict[str, Any]], **more: Any) -> str:
    backend = Backend(models.WordLevel({"<s>": 0}, unk_token="<s>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **NAMED)
    rendered = tokenizer.apply_chat_template(messages, chat_template=source, tokenize=False, **more)
    assert isinstance(rendered, str)
    return rendered


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("messages", CHATS)
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_agrees_with_transformers(
    name: str, messages: list[dict[str, Any]], add_generation_prompt: bool
) -> None:
    source = TEMPLATES[name]
    more: dict[str, Any] = {"add_generation_prompt": add_generation_prompt}
    expected = transformers_render(source, messages, **more)
    assert make(source).render(messages, **more) == expected


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("content", ["<", "Sure", " x", "|im_start|"])
def test_a_final_assistant_message_is_continued_as_in_transformers(name: str, content: str) -> None:
    messages = [*CHATS[0], {"role": "assistant", "content": content}]
    more: dict[str, Any] = {"add_generation_prompt": False, "continue_final_message": True}
    expected = transformers_render(TEMPLATES[name], messages, **more)
    if not expected.endswith(content):  # this template strips; we preserve the user's white space
        expected = expected.removesuffix(content.strip()) + content
    assert make(TEMPLATES[name]).render(messages, **more) == expected


@pytest.mark.parametrize("name", ["llama-3", "qwen"])
def test_tools_and_variables_of_the_template(name: str) -> None:
    more: dict[str, Any] = {"tools": TOOLS, "enable_thinking": False, "date_string": "today"}
    expected = transformers_render(TEMPLATES[name], WITH_SYSTEM, add_generation_prompt=True, **more)
    assert make(TEMPLATES[name]).render(WITH_SYSTEM, **more) == expected
    assert "f<é>" in expected


def test_the_default_models_own_template(default_model_files: ModelFiles) -> None:
    tokenizer = load_tokenizer(default_model_files)
    template = ChatTemplate(default_model_files, tokenizer)
    assert template.source is not None
    for messages in [*CHATS, WITH_SYSTEM]:
        expected = transformers_render(template.source, messages, add_generation_prompt=True)
        assert template.render(messages) == expected
    assert template.render(MESSAGES).startswith("<|im_start|>system\nYou are a helpful AI")
    assert template.render(MESSAGES).endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_a_configured_template_overrides_the_models() -> None:
    assert make("asked", own="own").render(MESSAGES) == "asked"
    assert make(None, own="own").render(MESSAGES) == "own"
    assert make("", own="own").render(MESSAGES) == ""


def test_errors_raised_by_the_template_are_request_errors() -> None:
    with pytest.raises(InvalidRequestError, match="Roles must alternate"):
        make(MISTRAL).render(WITH_SYSTEM)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].content.no.such }}",
        "{{ messages[0].content + 1 }}",
        "{{ 1 // 0 }}",
        "{% for x in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_template_failures_are_reported(source: str) -> None:
    with pytest.raises(InvalidRequestError, match="chat template"):
        make(source).render(MESSAGES)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
    ],
)
def test_templates_are_sandboxed(source: str) -> None:
    with pytest.raises(InvalidRequestError):
        make(source + "{{ messages.__class__.x }}").render(MESSAGES)


def test_messages_are_not_modified() -> None:
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(InvalidRequestError):
        make("{{ messages[0].update(role='x') }}").render(messages)
    assert messages == [{"role": "user", "content": "a"}]


def test_a_syntax_error_in_a_configured_template_is_reported_at_once() -> None:
    with pytest.raises(InvalidRequestError, match="line 2"):
        make("\n{% if %}")


def test_a_syntax_error_in_the_models_own_template_is_reported_on_use() -> None:
    template = make(None, own="{% nothing %}")
    with pytest.raises(InvalidRequestError, match="line 1"):
        template.render(MESSAGES)


def test_without_a_template_the_error_has_a_remedy() -> None:
    template = make(None)
    assert template.source is None
    with pytest.raises(InvalidRequestError, match=r"'little' has no chat template.*--chat-templ"):
        template.render(MESSAGES)


def test_templates_can_read_the_current_date() -> None:
    before = datetime.now()
    rendered = make("{{ strftime_now('%Y-%m-%d') }}").render(MESSAGES)
    assert rendered in {f"{before:%Y-%m-%d}", f"{datetime.now():%Y-%m-%d}"}


def test_a_template_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("ü {{ messages }}", encoding="utf-8")
    assert load_chat_template(str(file)) == "ü {{ messages }}"


def test_an_inline_template() -> None:
    assert load_chat_template(QWEN) == QWEN


def test_an_invalid_template_argument(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"none\.jinja.*neither"):
        load_chat_template(str(tmp_path / "none.jinja"))
    with pytest.raises(InvalidRequestError, match="neither"):
        load_chat_template(str(tmp_path))
