"""What an output is, in every format, however it is divided."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.server.parsing.events import Answer
from headrace.server.parsing.formats import TOOL_FORMATS
from headrace.server.parsing.output_parser import OutputParser, OutputSyntax
from headrace.server.parsing.reader import Markers
from headrace.testing.tool_outputs import SPECIAL, TOOLS, WRITERS, Call, parse, syntax

formats = pytest.mark.parametrize("name", WRITERS)
WORDS = st.text("ab \"'é\\€\n{}[]<>,:=", max_size=12)
CALLS: list[Call] = [("get_weather", {"city": "Pa\"ris'", "days": 3}), ("search", {"filters": {}})]


def cities(name: str) -> st.SearchStrategy[str]:
    """Strings that the format can write: those without escapes have no way to write a quote."""
    if name in ("functiongemma", "gemma4"):
        return st.text("ab é€\n{}[],:'", max_size=12)
    if name in ("qwen3_coder", "seed_oss", "minimax_m2", "glm45"):
        return st.text("ab é€\n{}[]\",:'\\", max_size=12)
    return WORDS


def calls_of(name: str) -> st.SearchStrategy[list[Call]]:
    days = st.integers(-(10**6), 10**6)
    weather = st.one_of(
        st.fixed_dictionaries({"city": cities(name)}),
        st.fixed_dictionaries({"city": cities(name), "days": days}),
    )
    filters = st.fixed_dictionaries(
        {"filters": st.dictionaries(st.text("ab", min_size=1), days | st.booleans(), max_size=2)}
    )
    call = st.one_of(
        st.tuples(st.just("get_weather"), weather), st.tuples(st.just("search"), filters)
    )
    return st.lists(call, min_size=1, max_size=3)


def divided(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[begin:end] for begin, end in itertools.pairwise(places)]


cuts = st.lists(st.integers(0, 10_000), max_size=20)


@formats
def test_calls_are_what_was_written(name: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(calls_of(name), cuts)
    def check(calls: list[Call], cuts: list[int]) -> None:
        text = WRITERS[name](calls)
        whole = parse(syntax(name), [text])
        assert [(each.name, json.loads(each.arguments)) for each in whole.tool_calls] == calls
        assert all(each.is_complete for each in whole.tool_calls)
        assert whole.content == ""
        assert parse(syntax(name), divided(text, cuts)) == whole
        assert parse(syntax(name), list(text)) == whole

    check()


@formats
def test_the_stream_of_any_text_is_the_whole_answer(name: str) -> None:
    """Texts of the format's own pieces in any order, cut anywhere."""
    pieces = Markers(piece for part in [WRITERS[name](CALLS)] for piece in part.split(" ")).texts
    found = next(each for each in TOOL_FORMATS if each.name == name)
    marks = (*found.begins, *found.closings, *(p for p in found.call_parts if isinstance(p, str)))
    hostile = [*sorted(pieces), *marks, "<think>", "</think>", SPECIAL, "\n", " ", "<", "[", "{"]
    hostile += ['"', "\\", ",", "]", "}", '{"name": "get_weather", ', '"arguments": {', "search("]

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.sampled_from(hostile) | WORDS, max_size=12).map("".join), cuts, st.booleans()
    )
    def check(text: str, cuts: list[int], inside: bool) -> None:
        for reasoning in (None, "think"):
            known = syntax(name, reasoning)
            options = {"starts_in_reasoning": inside and reasoning is not None}
            whole = parse(known, [text], **options)
            assert parse(known, divided(text, cuts), **options) == whole
            assert parse(known, list(text), **options) == whole

    check()


@formats
def test_text_without_a_marker_is_content(name: str) -> None:
    @settings(max_examples=30, deadline=None)
    @given(st.text(max_size=60), cuts)
    def check(text: str, cuts: list[int]) -> None:
        assert parse(syntax(name), divided(text, cuts)) == Answer(content=text)

    check()


@formats
def test_an_output_that_ends_within_a_call_loses_no_text(name: str) -> None:
    for length in range(1, 200, 7):
        text = WRITERS[name](CALLS)[:length]
        answer = parse(syntax(name), [text])
        if not answer.tool_calls:
            assert answer.content == text or name == "openai"
        for call in answer.tool_calls:
            assert call.name in TOOLS
            assert call.is_complete == _is_json(call.arguments)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", "\n<tool_call>\nnot a call\n</tool_call> after"),
        ("hermes", '<tool_call>{"name": 5, "arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "a b", "arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "search", "arguments": [1]}</tool_call>'),
        ("hermes", '<tool_call>{"arguments": "{", "name": "search"}</tool_call>'),
        ("qwen3_coder", "<tool_call>\nsearch()\n</tool_call>"),
        ("glm45", "<tool_call>a b c\n</tool_call>"),
        ("mistral", "[TOOL_CALLS] and more"),
        ("mistral", "[TOOL_CALLS][1, 2]"),
        ("deepseek_v31", "<｜tool▁calls▁begin｜> nothing <｜tool▁calls▁end｜>"),
        ("llama3_json", '{"city": "Paris"}'),
        ("llama3_json", ' {"name": "Alice", "parameters": {}}'),
        ("llama3_json", "[1, 2]"),
        ("pythonic", "[see(a=1)] below"),
        ("pythonic", "\n[1, 2]"),
        ("json", '[{"name": "Bob", "age": 3}]'),
    ],
)
def test_what_is_no_call_is_content(name: str, text: str) -> None:
    assert parse(syntax(name), list(text)) == Answer(content=text)


def test_a_call_that_turns_out_malformed_ends_and_the_rest_is_content() -> None:
    text = '<tool_call>{"name": "search", "arguments": {"a": 1, "b": oops}}</tool_call>'
    answer = parse(syntax("hermes"), [text])
    assert [(call.arguments, call.is_complete) for call in answer.tool_calls] == [
        ('{"a": 1, "b": ', False)
    ]
    assert answer.content == "oops}}</tool_call>"


@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "glm45", "mistral", "deepseek_v31"])
def test_a_call_within_reasoning_is_a_call(name: str) -> None:
    call = WRITERS[name](CALLS)
    answer = parse(syntax(name, "think"), [f"<think>\nI need it. {call} Then.\n</think>\n\nDone."])
    assert [each.name for each in answer.tool_calls] == ["get_weather", "search"]
    assert (answer.reasoning, answer.content) == ("I need it. Then.", "Done.")


@pytest.mark.parametrize(
    ("text", "inside", "reasoning", "content"),
    [
        ("<think>a</think>b", False, "a", "b"),
        ("\n<think>\na\n\n</think>\n\nb\n", False, "a", "b\n"),
        ("a</think>b", True, "a", "b"),
        ("<think>\na</think>b", True, "a", "b"),
        ("a", True, "a", ""),
        ("<think>\n\n</think>\n\nb", False, "", "b"),
        ("say <think> and </think>", False, "", "say <think> and </think>"),
        (" b", False, "", " b"),
    ],
)
def test_reasoning(text: str, inside: bool, reasoning: str, content: str) -> None:
    answer = parse(syntax("hermes", "think"), list(text), starts_in_reasoning=inside)
    assert (answer.reasoning, answer.content) == (reasoning, content)


def test_harmony_has_channels() -> None:
    text = (
        "<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant<|channel|>commentary"
        "<|message|>One moment. <|end|><|start|>assistant<|channel|>commentary to=functions.search "
        '<|constrain|>json<|message|>{"filters": {}}<|call|>'
    )
    answer = parse(syntax("openai"), list(text))
    assert (answer.reasoning, answer.content) == ("Let me see.", "One moment. ")
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [
        ("search", '{"filters": {}}')
    ]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"name": "search", "arguments": "{\\"filters\\": {}}"}', {"filters": {}}),
        ('{"name": "search", "arguments": null}', {}),
        ('{"name": "search"}', {}),
        ('{"arguments": {"filters": {}}, "name": "search"}', {"filters": {}}),
        ('{"name": "search", "arguments": {"filters": {"a": 1,},}}', {"filters": {"a": 1}}),
        ('{"name": "search", "arguments": {"filters": "a\nb\\d"}}', {"filters": "a\nb\\d"}),
    ],
)
def test_what_models_write_instead_of_json_is_read(text: str, arguments: Any) -> None:
    [call] = parse(syntax("hermes"), [f"<tool_call>{text}</tool_call>"]).tool_calls
    assert json.loads(call.arguments) == arguments


@pytest.mark.parametrize("name", ["qwen3_coder", "glm45", "pythonic", "gemma4", "openai"])
def test_json_is_understood_between_the_markers_of_every_format(name: str) -> None:
    found = next(each for each in TOOL_FORMATS if each.name == name)
    call = '{"name": "search", "arguments": {"filters": {}}}'
    text = call if found.may_be_bare else f"{found.begins[0]}\n{call}\n{found.closings[-1]}"
    if name != "openai":
        assert parse(syntax(name), list(text)).tool_calls[0].arguments == '{"filters": {}}'


def test_special_tokens_are_left_out_where_they_occur_as_tokens() -> None:
    parser = OutputParser(syntax("hermes"))
    answer = Answer()
    answer.add(parser.push(f"as text {SPECIAL}"))
    answer.add(parser.push(f" as a token {SPECIAL}", [SPECIAL]))
    answer.add(parser.finish())
    assert answer.content == f"as text {SPECIAL} as a token "


def test_calls_beyond_the_limit_are_left_out() -> None:
    text = WRITERS["hermes"](CALLS)
    assert len(parse(syntax("hermes"), [text], max_calls=1).tool_calls) == 1


def test_without_a_format_nothing_is_parsed() -> None:
    text = WRITERS["hermes"](CALLS)
    assert parse(OutputSyntax(None, None), [text]) == Answer(content=text)


def test_the_work_for_hostile_text_is_linear() -> None:
    text = '<tool_call>{"name": "' * 20_000
    assert parse(syntax("hermes"), [text]).content == text
    nested = '<tool_call>{"name": "search", "arguments": ' + '{"a":' * 20_000
    [call] = parse(syntax("hermes"), [nested]).tool_calls
    assert not call.is_complete


@formats
def test_deep_and_malformed_arguments_are_the_same_in_pieces(name: str) -> None:
    written = WRITERS[name]([("search", {"filters": {}})])
    for hostile in ('{"a":' * 5_000, "[" * 5_000, '{"a":' * 70 + "1" + "}" * 69, "{]", '{"\\u12'):
        text = written.replace("{}", hostile)
        pieces = [text[place : place + 7] for place in range(0, len(text), 7)]
        whole = parse(syntax(name), [text])
        assert parse(syntax(name), pieces) == whole
        assert len(whole.content) + sum(len(each.arguments) for each in whole.tool_calls) > 0
