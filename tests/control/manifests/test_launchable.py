"""What cannot be launched is refused with its line when the manifest is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.manifests import launchable
from headrace.control.manifests.fields.sources import ref_fault
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.manifests.revision import parse_revision
from headrace.control.manifests.run import parse_run

PARSERS = {"revision": parse_revision, "run": parse_run}
LONG_NAME = "x" * 256
LONG_PATH = "/" + "/".join(["abcdefghi"] * 103)


def places(text: str, kind: str = "revision") -> list[tuple[int, str]]:
    """Line and path of each problem."""
    with pytest.raises(ManifestError) as caught:
        PARSERS[kind](text, "f.yaml")  # type: ignore[operator]
    return [(problem.line, problem.path) for problem in caught.value.problems]


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize(
    ("written", "path"),
    [
        (r'env: {A: 1, X: "a\0b"}', "env.X"),
        (r'env: {A: 1, X: "a\ud800"}', "env.X"),
        (r'env: {A: 1, X: {value: "a\0b"}}', "env.X.value"),
        (r'env: {A: 1, X: {secret: "a\0b"}}', "env.X.secret"),
        (r'env: [{key: X, value: "a\0b"}]', "env[0].value"),
        (r'env: [{key: "X\0", value: a}]', "env[0].key"),
        (r'env: {"X\0": 1}', "env"),
        (r'args: "a\0b"', "args"),
        (r'args: [a, "a\0b"]', "args[1]"),
        (r'message: "a\0b"', "message"),
        (r'image: "a\0b"', "image"),
        (r'import: {/a: "/b\0"}', 'import["/a"]'),
        (r'import: {"/a\0": /b}', "import"),
        (r'ports: [{port: 3000, name: "a\0"}]', "ports[0].name"),
        (r'tags: ["a\ude00"]', "tags[0]"),
    ],
)
def test_characters_that_cannot_be_used(kind: str, written: str, path: str) -> None:
    assert (2, path) in places(f"model: tiny\n{written}\n", kind)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (r'run: "a\0b"', "run"),
        (r'run: [x, "a\0b"]', "run[1]"),
        (r'run: [{command: x, workdir: "/a\0"}]', "run[0].workdir"),
        (r'run: [{command: x, workdir: "/a\tb"}]', "run[0].workdir"),
        (f"run: [{{command: x, workdir: /{LONG_NAME}}}]", "run[0].workdir"),
        (f"run: [{{command: x, workdir: {LONG_PATH}}}]", "run[0].workdir"),
    ],
)
def test_commands_and_workdirs(written: str, path: str) -> None:
    assert places(f"message: x\n{written}\n") == [(2, path)]


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize(
    ("written", "path"),
    [
        ('env: {"": 1}', "env"),
        ("env: {A=B: 1}", "env.A=B"),
        ("env: {A B: 1}", "env.A B"),
        ("env: {1A: 1}", "env.1A"),
        ("env: [{key: '', value: 1}]", "env."),
        ("env: [{key: A=B, value: 1}]", "env.A=B"),
        ("env: {X: '${PORT_DB}'}", "env.X"),
        ("env: {X: {value: '${PORT_DB}'}}", "env.X"),
        (f"import: {{/{LONG_NAME}: ./a}}", f'import["/{LONG_NAME}"]'),
        (
            "import: {/a: {git: {url: github.com/o/r, ref: --upload-pack=x}}}",
            'import["/a"].git.ref',
        ),
        ("image: --privileged", "image"),
        ("image: {url: -v/:/host}", "image"),
        ("image: torch 2", "image"),
    ],
)
def test_names_and_paths(kind: str, written: str, path: str) -> None:
    found = [
        place.replace('["', ".").replace('"]', "")
        for _, place in places(f"model: m\n{written}\n", kind)
    ]
    assert path.replace('["', ".").replace('"]', "") in found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", f"true {'x' * launchable.MAX_SCRIPT_BYTES}"),
        ("run", [f"true {'é' * (launchable.MAX_SCRIPT_BYTES // 8)}"] * 5),
        ("env", {"X": "x" * launchable.MAX_VARIABLE_BYTES}),
        ("env", {f"X{number}": "x" * 60_000 for number in range(9)}),
        ("env", {f"X{number}": "" for number in range(launchable.MAX_NUM_VARIABLES + 1)}),
        ("run", ["x"] * (launchable.MAX_NUM_ITEMS + 1)),
        ("tags", ["x"] * (launchable.MAX_NUM_ITEMS + 1)),
        ("ports", list(range(1000, 1001 + launchable.MAX_NUM_ITEMS))),
        ("import", {f"/{number}": "/a" for number in range(launchable.MAX_NUM_ITEMS + 1)}),
        ("message", "x" * (launchable.MAX_TEXT_LENGTH + 1)),
        ("name", "x" * (launchable.MAX_TEXT_LENGTH + 1)),
        ("description", "x" * (launchable.MAX_TEXT_LENGTH + 1)),
        ("tags", ["x" * (launchable.MAX_TEXT_LENGTH + 1)]),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
@pytest.mark.parametrize("kind", PARSERS)
def test_sizes(kind: str, key: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "headrace.control.manifests.parsing.yaml_document.MAX_NUM_CHARACTERS", 10**6
    )
    text = json.dumps({"run": "true", key: value}, ensure_ascii=False)
    assert all(path.startswith(key) for _, path in places(text, kind))


def test_values_at_the_limit_are_accepted() -> None:
    env = {"X": "x" * (launchable.MAX_VARIABLE_BYTES - 1)}
    spec = parse_revision(json.dumps({"run": "true", "env": env}), "f.yaml").spec
    assert spec.env["X"].value == env["X"]
    command = "x" * launchable.MAX_SCRIPT_BYTES
    assert parse_run(json.dumps({"run": command}), "f.yaml").spec.run[0].command == command


def test_escaped_surrogate_pairs_are_joined() -> None:
    text = json.dumps({"run": "echo 😀", "env": {"X": "a😀b"}})
    assert "\\ud83d" in text
    spec = parse_revision(text, "f.json").spec
    assert spec.run[0].command == "echo 😀"
    assert spec.env["X"].value == "a😀b"


@pytest.mark.parametrize(
    "written",
    [
        f"grace_period: {'9' * 5000}",
        f"grace_period: 0x{'f' * 5000}",
        f"drain_timeout: {'9' * 400}d",
        "drain_timeout: 1e400",
        "readiness: {timeout: 36501d}",
        f"resources: {{memory: {'9' * 400}G}}",
        f"resources: {{memory: {'9' * 5000}}}",
        "resources: {cpu: inf}",
        "resources: {cpu: nan}",
        f"resources: {{cpu: {'9' * 400}}}",
        f"resources: {{gpu: {'9' * 400}}}",
        "resources: {gpu: 10001}",
        "autoscaling: {min: -1}",
        "autoscaling: {max: 1001}",
        f"autoscaling: {{max: {'9' * 5000}}}",
        "autoscaling: {metric: rps, target: 1e400}",
        "autoscaling: {metric: ttft, target: 40000d}",
        f"ports: [{'9' * 5000}]",
        f"expose: {'9' * 5000}",
    ],
    ids=lambda text: text[:30],
)
def test_numbers_have_bounds(written: str) -> None:
    assert [line for line, _ in places(f"run: x\n{written}\n")] == [2]


@pytest.mark.parametrize(
    "ref",
    ["main", "v1.0", "feature/one", "a1b2c3d", "release-1.2", "refs/heads/main", "ünïcode", "a@b"],
)
def test_refs(ref: str) -> None:
    assert ref_fault(ref) is None


@pytest.mark.parametrize(
    "ref",
    [
        *("-", "--upload-pack=touch x", "-b", "a b", "a\tb", "a\nb", "a\x7fb", "a..b", "a@{1}"),
        *("a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "@", "/a", "a/", "a//b", "a.", ".a"),
        *("a/.b", "a.lock", "a.lock/b", "+a:b"),
    ],
)
def test_invalid_refs(ref: str) -> None:
    assert ref_fault(ref) is not None


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
def test_a_valid_ref_is_one_word_and_not_an_option(ref: str) -> None:
    if ref_fault(ref) is None:
        assert not ref.startswith("-")
        assert not any(character <= " " for character in ref)


KEYS = [
    *("run", "model", "args", "engine", "env", "ports", "expose", "image", "import", "export"),
    *("autoscaling", "readiness", "resources", "service", "monitoring", "max_runtime", "tags"),
    *("command", "workdir", "git", "url", "ref", "path", "artifact", "name", "value", "secret"),
    *("min", "max", "metric", "target", "port", "type", "timeout", "gpu", "cpu", "memory", "/a"),
    *("drain_timeout", "grace_period", "inherit_env", "interactive", "volumes", "message"),
]
SCALARS = st.one_of(
    st.sampled_from(
        [
            *("", "x", "-", "a\0b", "\ud800", "${PORT_X}", "nan", "inf", "-1", "1e999", "9" * 5000),
            *(
                "0x" + "f" * 400,
                "9" * 400 + "d",
                "9" * 400 + "G",
                "git://a@b/c",
                "https://[",
                "../..",
            ),
            *(
                None,
                True,
                -1,
                0,
                1,
                3000,
                2**63,
                10**400,
                1e308,
                0.5,
                "kv_cache",
                "queue_time",
                "gpu",
            ),
        ]
    ),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", PARSERS)
@given(document=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
def test_any_file_is_refused_or_can_be_stored(kind: str, document: dict[str, object]) -> None:
    try:
        manifest = PARSERS[kind](json.dumps(document), "f.yaml")  # type: ignore[operator]
    except ManifestError as error:
        str(error).encode()
        return
    stored = json.dumps(manifest.spec.model_dump(mode="json"), allow_nan=False, ensure_ascii=False)
    assert "\0" not in stored.encode().decode()
    assert type(manifest.spec).model_validate(json.loads(stored)) == manifest.spec


@pytest.mark.parametrize(
    "url",
    [
        *("ext::sh -c touch% /tmp/mark", "fd::17", "ftp://example.com/r.git", "rsync://a/b.git"),
        *("https://token@github.com/o/r", "https://user:pass@github.com/o/r", "git://tok@a.b/r"),
        *("ssh://git:pass@github.com/o/r", "token:x@github.com/o/r", "HTTPS://token@a.b/r.git"),
        *("--upload-pack=x", "https://a.b/r\nc", "https://[", "-x"),
    ],
)
def test_invalid_repository_addresses(url: str) -> None:
    text = json.dumps({"run": "x", "import": {"/code": {"git": {"url": url}}}})
    assert [path for _, path in places(text)] == ['import["/code"].git.url']


@pytest.mark.parametrize(
    "url",
    [
        *("github.com/o/r", "https://github.com/o/r.git", "git://github.com/o/r", "/srv/r.git"),
        *("ssh://git@github.com:22/o/r", "git@github.com:o/r.git", "file:///srv/r", "./r", "../r"),
    ],
)
def test_repository_addresses(url: str) -> None:
    text = json.dumps({"run": "x", "import": {"/code": {"git": {"url": url}}}})
    assert parse_revision(text, "f.yaml").spec.imports["/code"].git is not None
