"""Files of runs: imports, exports, and what an interactive session leaves behind."""

import json
from pathlib import Path

import pytest

from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.manifests.run import RunSpec, parse_run


def spec_of(text: str, folder: Path | None = None) -> RunSpec:
    return parse_run(text, "r.yaml", folder).spec


def problems_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse_run(text, "r.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("{git: {url: github.com/o/r.git}}", "https://github.com/o/r.git"),
        ("{git: {url: https://github.com/o/r}}", "https://github.com/o/r"),
        ("{git: {url: 'git@github.com:o/r.git'}}", "git@github.com:o/r.git"),
        ("{git: {url: /srv/repositories/r}}", "/srv/repositories/r"),
        ("{git: {url: file:///srv/r}}", "file:///srv/r"),
        ("{git: {url: ./r}}", "/base/r"),
        ("git://github.com/o/r", "https://github.com/o/r"),
        ("https://github.com/o/r.git", "https://github.com/o/r.git"),
        ("ssh://git@host/o/r", "ssh://git@host/o/r"),
    ],
)
def test_repositories_have_many_addresses(written: str, url: str) -> None:
    source = spec_of(f"run: x\nimport:\n  /code/: {written}", Path("/base")).imports["/code"]
    assert source.kind == "git"
    assert source.git is not None
    assert source.git.url == url
    assert source.git.ref is None


def test_a_ref_is_text() -> None:
    source = spec_of("run: x\nimport: {/c: {git: {url: a.b/c, ref: 1.10}}}").imports["/c"]
    assert source.git is not None
    assert source.git.ref == "1.10"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("./src", "/base/src"),
        ("src", "/base/src"),
        ("../src", "/base/../src"),
        ("/srv/data", "/srv/data"),
        ("file:///srv/data", "/srv/data"),
        ("hostpath:///srv/data", "/srv/data"),
        ("{path: data}", "/base/data"),
    ],
)
def test_local_paths_are_found_from_the_files_folder(written: str, path: str) -> None:
    text = f"run: x\nimport: {{/data: {written}}}\nexport: {{/data: {written}}}"
    spec = spec_of(text, Path("/base"))
    assert spec.imports["/data"].path == path
    assert spec.imports["/data"].kind == "path"
    assert spec.exports["/data"].path == path


def test_without_a_folder_local_paths_are_found_from_the_file() -> None:
    spec = parse_run("run: x\nimport: {/data: d}", "/srv/jobs/r.yaml").spec
    assert spec.imports["/data"].path == "/srv/jobs/d"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("artifact://models", "models"),
        ("vessl-artifact://org/project/models", "models"),
        ("vessl-artifact://{ORGANIZATION}/{PROJECT}/models", "models"),
        ("{artifact: models}", "models"),
        ("{artifact: {name: models}}", "models"),
        ("{artifact: {organization_name: o, project_name: p, name: models}}", "models"),
        ("vessl-artifact://", "my-run-out"),
    ],
)
def test_artifacts_have_many_shapes(written: str, name: str) -> None:
    spec = spec_of(f"name: my run\nrun: x\nexport:\n  /some/out/: {written}")
    assert spec.artifact_name("/some/out") == name


def test_an_export_to_a_folder_is_no_artifact() -> None:
    assert spec_of("run: x\nexport: {/out: /srv/out}").artifact_name("/out") is None


def test_an_older_name_for_imports() -> None:
    spec = spec_of("run: x\nvolumes:\n  /code: git://github.com/o/r\n")
    assert spec.imports["/code"].kind == "git"


def test_what_an_interactive_session_leaves_behind() -> None:
    document = parse_run(
        "run: x\ninteractive:\n  max_runtime: 24h\n  ports: [8501]\n"
        "  jupyter: {idle_timeout: 120m}\n",
        "r.yaml",
    )
    assert document.spec.max_runtime_s == 24 * 3600
    assert [port.port for port in document.spec.ports] == [8501]
    assert [note.split()[0] for note in document.notes] == ["interactive.jupyter"]


def test_a_run_needs_no_port_unless_it_serves() -> None:
    assert spec_of("run: x").ports == ()
    assert [port.port for port in spec_of("model: m").ports] == [8000]
    assert spec_of("run: x\nports: [9]").find_port(9) is not None


def test_the_store_reads_back_what_it_keeps() -> None:
    spec = spec_of(
        "name: n\ntags: [a]\nrun: [x, {command: y, workdir: /code}]\n"
        "import: {/code/: {git: {url: a.b/c}}, /d: ./d, /e: artifact://f}\n"
        "export: {/out/: vessl-artifact://, /o2: ./o2}\n"
        "max_runtime: 1h30m\ntermination_protection: false\nenv: {A: {secret: s}}\n"
    )
    assert RunSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json")))) == spec


def test_problems_find_mounts_with_and_without_the_last_slash() -> None:
    document = parse_run("run: x\nimport:\n  /a: ./a\n  /code/: ./b\n", "r.yaml")
    problem = document.problem(("import", "/code"), "there is no such folder")
    assert str(problem) == 'r.yaml:4: import["/code/"]: there is no such folder'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import: {/c: ./c}", "r.yaml:1: nothing to start"),
        ("interactive: {max_runtime: 1h}", "r.yaml:1: interactive: starts no session here"),
        ("run: x\nimport: {code: ./c}", "r.yaml:2: import.code: must be an absolute path"),
        ("run: x\nimport: {/: ./c}", 'r.yaml:2: import["/"]: must be a folder below /'),
        ("run: x\nimport: {/a/../b: ./c}", 'r.yaml:2: import["/a/../b"]: must not contain ..'),
        (
            "run: x\nimport:\n  /c: ./a\n  /c/: ./b",
            'r.yaml:4: import["/c/"]: is the same path as /c; keep one',
        ),
        ("run: x\nimport: {/c: s3://b}", 'r.yaml:2: import["/c"]: s3:// cannot be reached'),
        ("run: x\nimport: {/c: {s3: {bucket: b}}}", 'r.yaml:2: import["/c"].s3: cannot be reached'),
        ("run: x\nimport: {/c: ftp://b}", 'r.yaml:2: import["/c"]: ftp:// is not known'),
        ("run: x\nimport: {/c: artifact://}", 'r.yaml:2: import["/c"].artifact: names no artifact'),
        ("run: x\nimport: {/c: 'artifact://a b'}", 'r.yaml:2: import["/c"].artifact.name: must be'),
        ("run: x\nimport: {/c: {}}", 'r.yaml:2: import["/c"]: must be one of git, path and'),
        ("run: x\nimport: {/c: {git: {}}}", 'r.yaml:2: import["/c"].git.url: is missing'),
        (
            "run: x\nimport: {/c: {git: {url: 'https://me:pw@h/r'}}}",
            'r.yaml:2: import["/c"].git.url: must not hold a user or password',
        ),
        (
            "run: x\nimport: {/c: {git: {url: 'http://a-token@h/r'}}}",
            'r.yaml:2: import["/c"].git.url: must not hold a user or password',
        ),
        ("run: x\nimport: {/c: {git: {url: --x}}}", 'r.yaml:2: import["/c"].git.url: must be the'),
        ("run: x\nimport: [a]", "r.yaml:2: import: must be keys with values"),
        ("run: x\nexport: {/c: s3://b}", 'r.yaml:2: export["/c"]: s3:// cannot be reached'),
        ("run: x\nexport: {/c: {git: {url: a}}}", 'r.yaml:2: export["/c"].git: cannot be reached'),
        ("run: x\nmax_runtime: -3", "r.yaml:2: max_runtime: must not be negative"),
        (
            "run: x\nmax_runtime: 1h\ninteractive: {runtime: 2h}",
            "r.yaml:3: interactive.runtime: says the same as max_runtime; keep one",
        ),
        ("run: x\ninteractive: {foo: 1}", "r.yaml:2: interactive.foo: unknown key"),
        ("run: x\nautoscaling: {min: 1}", "r.yaml:2: autoscaling: unknown key"),
    ],
)
def test_mistakes_are_told_with_line_and_reason(text: str, expected: str) -> None:
    told = problems_of(text)
    assert len(told) == 1, told
    assert told[0].startswith(expected), told[0]


def test_a_password_in_an_address_is_not_repeated() -> None:
    told = problems_of("run: x\nimport: {/c: {git: {url: 'https://me:hunter2@h/r'}}}")
    assert "hunter2" not in told[0]
