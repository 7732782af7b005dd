"""Prompts as a template renders them: final messages that are continued, parts, and limits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import InvalidParameterError, InvalidRequestError
from headrace.engine.rendering.prompt_template import (
    MAX_PROMPT_CHARS,
    PromptTemplate,
    RenderJob,
    TemplateDefinition,
)

AS_IS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TRIMS = AS_IS.replace("m.content", "m.content | trim")
PARTS = (
    "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }};{% endfor %}"
    "</{{ m.role }}>{% endfor %}"
)
BOTH = AS_IS.replace(
    "{{ m.content }}",
    "{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}",
)
TURNS = [{"role": "user", "content": "Hi < there"}, {"role": "assistant", "content": "<"}]


def render(source: str, messages: list[dict[str, Any]], **more: Any) -> str:
    return PromptTemplate(TemplateDefinition(source)).render(RenderJob(messages, **more))


def go_on(source: str, content: object) -> str:
    """The prompt that continues an assistant's message with this content."""
    messages = [TURNS[0], {"role": "assistant", "content": content}]
    return render(source, messages, add_generation_prompt=False, continue_final_message=True)


def text_parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


@pytest.mark.parametrize("source", [AS_IS, TRIMS, PARTS, BOTH])
@pytest.mark.parametrize(
    "content",
    [
        *(
            "<",
            "</assistant>",
            "Hi < there",
            "Once upon",
            " Once upon ",
            "\n\n",
            " ",
            "",
            "{{ x }}",
        ),
        *("é 😀 ", "a\u0000b", "\tSELECT 1;\n", "<assistant>", "x" * 10_000),
    ],
)
def test_the_prompt_ends_with_the_final_content(source: str, content: str) -> None:
    prompt = go_on(source, content)
    begin = render(source, TURNS[:1], add_generation_prompt=False) + "<assistant>"
    assert prompt == begin + content


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_prompt_ends_with_arbitrary_content(content: str) -> None:
    for source in (AS_IS, TRIMS):
        assert go_on(source, content) == f"<user>Hi < there</user><assistant>{content}"


def test_the_last_part_is_continued() -> None:
    parts = text_parts("one", "two ")
    assert go_on(PARTS, parts).endswith("<assistant>one;two ")
    assert go_on(AS_IS, parts).endswith("<assistant>one\ntwo ")
    assert go_on(PARTS, []).endswith("<assistant>")
    assert go_on(AS_IS, None).endswith("<assistant>")


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "x"),  # not shown
        ("{{ messages[-1].content }}{{ messages[-1].content }}", "x"),  # shown twice
        (AS_IS.replace("m.content", "m.content | upper"), "x"),
        (AS_IS.replace("m.content", "m.content | tojson"), '"x"'),
        (AS_IS.replace("m.content", "m.content.split('</think>')[-1]"), "<think>a</think>b"),
    ],
)
def test_content_changed_by_the_template_cannot_be_continued(source: str, content: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        go_on(source, content)
    assert refused.value.param == "continue_final_message"


def test_continuation_requires_a_message() -> None:
    with pytest.raises(InvalidRequestError):
        render("x", [], continue_final_message=True)


@pytest.mark.parametrize(
    ("source", "content", "expected"),
    [
        (AS_IS, "one", "<user>one</user>"),
        (AS_IS, text_parts("one", "two"), "<user>one\ntwo</user>"),
        (PARTS, "one", "<user>one;</user>"),
        (PARTS, text_parts("one", "two"), "<user>one;two;</user>"),
        (BOTH, "one", "<user>one</user>"),
        (BOTH, text_parts("one", "two"), "<user>onetwo</user>"),
    ],
)
def test_a_template_gets_the_content_format_that_it_reads(
    source: str, content: object, expected: str
) -> None:
    messages = [{"role": "user", "content": content}]
    assert render(source, messages, add_generation_prompt=False) == expected


def test_a_template_that_tests_for_strings_gets_strings() -> None:
    source = BOTH + "{{ messages[0].content is string }}"
    messages = [{"role": "user", "content": "one"}]
    assert render(source, messages, add_generation_prompt=False).endswith("True")


@pytest.mark.parametrize("part", [{"type": "image_url"}, {"type": "text"}, {"text": "x"}, "x"])
def test_non_text_parts_are_refused(part: object) -> None:
    for source in (AS_IS, PARTS):
        with pytest.raises(InvalidRequestError):
            render(source, [{"role": "user", "content": [part]}])


def test_messages_are_not_modified() -> None:
    messages = [{"role": "user", "content": text_parts("one")}]
    job = RenderJob(messages, continue_final_message=True)
    PromptTemplate(TemplateDefinition(PARTS)).render(job)
    assert messages == [{"role": "user", "content": text_parts("one")}]


def test_an_oversized_prompt_is_not_concatenated() -> None:
    source = "{% for i in range(1000) %}{{ messages[0].content }}{% endfor %}"
    with pytest.raises(InvalidRequestError):
        render(source, [{"role": "user", "content": "x" * (MAX_PROMPT_CHARS // 999)}])


@pytest.mark.parametrize("source", ["{{ '\\ud800' }}", "{{ raise_exception('\\ud800' * 5000) }}"])
def test_errors_are_short_and_encodable(source: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        render(source, TURNS)
    assert len(str(refused.value).encode()) < 4500


@pytest.mark.parametrize("source", ["{% if %}", "{{ " + "(" * 1000 + "}}", "{{ \ud800 }}"])
def test_an_invalid_template_is_reported(source: str) -> None:
    with pytest.raises(InvalidRequestError, match="chat template"):
        render(source, TURNS)
