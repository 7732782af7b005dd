"""YAML texts as data with places: surprises, mistakes and limits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.manifests.parsing.problems import ManifestError, show_path
from headrace.control.manifests.parsing.yaml_document import MAX_NUM_CHARACTERS, load


def problems_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(text, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("3000", 3000),
        ("-7", -7),
        ("0x1f", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("0755", "0755"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"),
        (".inf", ".inf"),
        ("=", "="),
        ('"3000"', "3000"),
        ("'true'", "true"),
        ("!!str 3000", "3000"),
        ("v1.10", "v1.10"),
        ("[1, a]", [1, "a"]),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_scalars_are_what_they_look_like(written: str, value: object) -> None:
    read = load(f"key: {written}", "f.yaml").data["key"]
    assert read == value
    assert type(read) is type(value)


def test_keys_are_text_as_written() -> None:
    assert load("on: 1\n3000: 2\nno: 3\n1.10: 4", "f.yaml").data == {
        "on": 1,
        "3000": 2,
        "no": 3,
        "1.10": 4,
    }


def test_text_stays_as_written_where_text_is_wanted() -> None:
    document = load("a: 1.10\nb: 1.10\nc: true\nd:", "f.yaml", lambda path: path[0] in "acd")
    assert document.data == {"a": "1.10", "b": 1.1, "c": "true", "d": None}


def test_every_value_has_its_line() -> None:
    text = "# a comment\ntop: 1\nlist:\n- a\n- key: v\n  other: |\n    text\n"
    document = load(text, "f.yaml")
    lines = {show_path(path): place.best.line for path, place in document.places.items() if path}
    assert lines == {
        "top": 2,
        "list": 3,
        "list[0]": 4,
        "list[1]": 5,
        "list[1].key": 5,
        "list[1].other": 6,
    }


def test_a_problem_names_the_nearest_thing_that_is_there() -> None:
    document = load("targets:\n- number: 1\n", "gateway.yaml")
    problem = document.problem(("targets", 0, "port"), "is missing")
    assert str(problem) == "gateway.yaml:2: targets[0].port: is missing"
    problem = document.problem(("targets", 0, "number"), "revision 1 does not exist")
    assert str(problem) == "gateway.yaml:2: targets[0].number: revision 1 does not exist"
    assert problem.column == 11


def test_what_has_moved_is_shown_where_it_was_written() -> None:
    document = load("service:\n  autoscaling:\n    min: 1\n", "f.yaml")
    moved = document.moved(("service", "autoscaling"), ("autoscaling",))
    assert moved.data == {"service": {}, "autoscaling": {"min": 1}}
    problem = moved.problem(("autoscaling", "min"), "is wrong")
    assert str(problem) == "f.yaml:3: service.autoscaling.min: is wrong"
    assert document.data == {"service": {"autoscaling": {"min": 1}}}


def test_anchors_aliases_and_merges_work() -> None:
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\nd:\n  y: 4\n  <<: [*a]\n"
    assert load(text, "f.yaml").data == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
        "d": {"x": 1, "y": 4},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f.yaml:1: is empty"),
        ("# only a comment\n", "f.yaml:1: is empty"),
        ("- a\n", "f.yaml:1: must be keys with values"),
        ("a: 1\n---\nb: 2\n", "f.yaml:3: starts a second document"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "f.yaml:4: b.c: is given twice, first on line 3"),
        ("a: 1\n\tb: 2\n", "f.yaml:2: a tab stands here"),
        ("a: b: c\n", "f.yaml:1: a colon stands where none can"),
        ("a:\n- b: 1\n c: 2\n", "f.yaml:3: the indentation of this line does not fit"),
        ("a:\n  - 1\n - 2\n", "f.yaml:3: the indentation of this line does not fit"),
        ("  a: 1\n b: 2\n", "f.yaml:2: the indentation of this line does not fit"),
        ("a: 1\n- b\n", "f.yaml:2: the indentation of this line does not fit"),
        ("a: 'it's'\n", "f.yaml:1: text follows a value that has ended"),
        ("a: 1\nb\n", "f.yaml:2: a key without a colon"),
        ("a: [1\nb: 2\n", "f.yaml:2: this is not YAML"),
        ("a: 1\nb: 'x\n\n", "f.yaml:2: a quote is opened here"),
        ("a: *nothing\n", "f.yaml:1: found undefined alias"),
        ("a: @x\n", "f.yaml:1: found character '@'"),
        ("a: 1\nb: \x07\n", "f.yaml:2: has a character that YAML does not allow (#x0007)"),
        ("a: 1\nb: !mine 2\n", "f.yaml:2: b: has the tag !mine"),
        ("a: !!python/object/apply:os.getcwd []\n", "f.yaml:1: a: has the tag !!python"),
        ("a: !!binary aGk=\n", "f.yaml:1: a: has the tag !!binary"),
        ("a: 1\nb: {{ NAME }}\n", "f.yaml:2: b: a key must be a word"),
        ("? [a]\n: 1\n", "f.yaml:1: a key must be a word"),
        ("a: &a\n  b: *a\n", "f.yaml:1: an alias stands inside what it names"),
        ("a: 1\nb:\n  <<: 3\n", "f.yaml:3: b: `<<` takes a mapping"),
        ("a: " + "[" * 5000, "f.yaml:1: is nested too deeply"),
        ("a: '" + "x" * MAX_NUM_CHARACTERS + "'", "f.yaml:1: is longer than"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, expected: str) -> None:
    assert problems_of(text)[0].startswith(expected)


def test_aliases_cannot_grow_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "too many values" in problems_of("\n".join(lines))[0]


def test_all_duplicates_are_told_in_the_order_of_the_file() -> None:
    told = problems_of("a: 1\na: 2\nb: 1\nb: 2\n")
    assert [problem.split(":")[1] for problem in told] == ["2", "4"]


def test_placeholders_are_known() -> None:
    document = load("a: {number}\nb: {x: }\nc: {x: 1}\nd: {}\ne:\n  f:\n", "f.yaml")
    assert document.placeholders == {("a",): "number", ("b",): "x"}


scalars = st.one_of(
    st.booleans(),
    st.integers(min_value=-(10**9), max_value=10**9),
    st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(alphabet="abcxyz_", min_size=1, max_size=6), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(alphabet="abcxyz_", min_size=1), trees, min_size=1, max_size=4))
def test_what_json_writes_is_read_back(data: dict[str, object]) -> None:
    document = load(json.dumps(data, indent=1), "f.json")
    assert document.data == data
    assert all(path == place.written for path, place in document.places.items())


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    num_lines = len(text.splitlines()) + 1
    try:
        lines = [place.best.line for place in load(text, "f.yaml").places.values()]
    except ManifestError as error:
        lines = [problem.line for problem in error.problems]
    assert lines
    assert all(1 <= line <= num_lines for line in lines)


def test_paths_are_shown_as_people_write_them() -> None:
    assert show_path(("targets", 0, "weight")) == "targets[0].weight"
    assert show_path(("import", "/code/", "git")) == 'import["/code/"].git'
    assert show_path(()) == ""
