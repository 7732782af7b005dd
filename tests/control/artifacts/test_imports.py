"""With real git repositories, folders and artifacts."""

import subprocess
from pathlib import Path

import pytest

from headrace.control.artifacts.artifact_store import ArtifactStore
from headrace.control.artifacts.imports import export_all, import_all
from headrace.control.errors import ImportSourceError
from headrace.control.manifests.fields.sources import GitSource, Source
from headrace.control.manifests.run import RunSpec


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: the first one tagged v1, the second one on branch next."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "word").write_text("first")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "one")
    git(folder, "tag", "v1")
    git(folder, "checkout", "--quiet", "-b", "next")
    (folder / "word").write_text("second")
    git(folder, "commit", "--quiet", "--all", "--message", "two")
    git(folder, "checkout", "--quiet", "main")
    return folder


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def spec(**keys: object) -> RunSpec:
    return RunSpec.model_validate({"name": "job", "run": "true", **keys})


@pytest.mark.parametrize(
    ("ref", "word"),
    [(None, "first"), ("main", "first"), ("v1", "first"), ("next", "second"), ("COMMIT", "first")],
)
def test_clones_a_repository_at_a_ref(
    repository: Path, artifacts: ArtifactStore, tmp_path: Path, ref: str | None, word: str
) -> None:
    commit = git(repository, "rev-parse", "v1")
    source = {"url": f"file://{repository}", "ref": commit if ref == "COMMIT" else ref}
    told = import_all(spec(**{"import": {"/code/": {"git": source}}}), tmp_path / "root", artifacts)
    assert (tmp_path / "root" / "code" / "word").read_text() == word
    assert "/code" in told[0]


def test_an_abbreviated_commit_is_found(
    repository: Path, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    source = {"url": f"file://{repository}", "ref": git(repository, "rev-parse", "--short", "next")}
    import_all(spec(**{"import": {"/code": {"git": source}}}), tmp_path / "root", artifacts)
    assert (tmp_path / "root" / "code" / "word").read_text() == "second"


def test_says_what_git_says(repository: Path, artifacts: ArtifactStore, tmp_path: Path) -> None:
    nowhere = {"url": f"file://{tmp_path}/nowhere"}
    for source in (nowhere, {"url": f"file://{repository}", "ref": "x"}):
        with pytest.raises(ImportSourceError, match=source["url"]):
            import_all(spec(**{"import": {"/code": {"git": source}}}), tmp_path / "root", artifacts)


def test_a_ref_that_is_not_there_is_told_by_its_name(
    repository: Path, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    source = {"url": f"file://{repository}", "ref": "nosuch"}
    with pytest.raises(ImportSourceError) as told:
        import_all(spec(**{"import": {"/code": {"git": source}}}), tmp_path / "root", artifacts)
    assert str(told.value) == f"No branch, tag or commit 'nosuch' in file://{repository}."


def test_of_what_git_says_the_advice_is_left_out(artifacts: ArtifactStore, tmp_path: Path) -> None:
    source = {"url": str(tmp_path / "nowhere")}
    with pytest.raises(ImportSourceError) as told:
        import_all(spec(**{"import": {"/code": {"git": source}}}), tmp_path / "root", artifacts)
    assert "does not appear to be a git repository" in str(told.value)
    assert "the repository exists" not in str(told.value)


def test_links_local_paths(artifacts: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows").write_text("1")
    job = spec(**{"import": {"/data": str(tmp_path / "data")}})
    import_all(job, tmp_path / "root", artifacts)
    assert (tmp_path / "root" / "data" / "rows").read_text() == "1"
    (tmp_path / "data" / "rows").unlink()
    (tmp_path / "data").rmdir()
    with pytest.raises(ImportSourceError, match=r"/data: .*data does not exist on this machine"):
        import_all(job, tmp_path / "root", artifacts)


def test_removing_a_root_never_follows_its_links(artifacts: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows").write_text("1")
    job = spec(**{"import": {"/data": str(tmp_path / "data")}})
    for _ in range(2):
        import_all(job, tmp_path / "root", artifacts)
    assert (tmp_path / "data" / "rows").exists()


def test_an_artifact_is_empty_at_first_and_then_what_was_kept(
    artifacts: ArtifactStore, tmp_path: Path
) -> None:
    cache = "vessl-artifact://org/project/models"
    job = spec(**{"import": {"/root/.cache/": cache}, "export": {"/root/.cache/": cache}})
    for turn in range(3):
        root = tmp_path / f"root-{turn}"
        told = import_all(job, root, artifacts)
        assert ("Artifact models does not exist yet" in told[0]) == (turn == 0)
        cached = root / "root" / ".cache"
        assert sorted(path.name for path in cached.iterdir()) == [f"file-{n}" for n in range(turn)]
        (cached / f"file-{turn}").touch()
        export_all(job, root, artifacts)
    assert artifacts.names() == ["models"]
    kept = [path for path in (tmp_path / "artifacts").iterdir() if not path.is_symlink()]
    assert len(kept) == 1


def test_exports_go_to_local_folders_too(artifacts: ArtifactStore, tmp_path: Path) -> None:
    job = spec(export={"/out": str(tmp_path / "results")})
    with pytest.raises(
        ImportSourceError, match=r"export /out: the commands created no such folder"
    ):
        export_all(job, tmp_path / "root", artifacts)
    (tmp_path / "root" / "out").mkdir(parents=True)
    (tmp_path / "root" / "out" / "table.csv").write_text("a,b")
    export_all(job, tmp_path / "root", artifacts)
    assert (tmp_path / "results" / "table.csv").read_text() == "a,b"


@pytest.mark.parametrize("outer_first", [True, False])
def test_an_import_may_lie_inside_another(
    repository: Path, artifacts: ArtifactStore, tmp_path: Path, outer_first: bool
) -> None:
    outer = ("/code", {"git": {"url": f"file://{repository}"}})
    inner = ("/code/cache", "artifact://cache")
    both = [outer, inner] if outer_first else [inner, outer]
    import_all(spec(**{"import": dict(both)}), tmp_path / "root", artifacts)
    assert (tmp_path / "root" / "code" / "word").exists()
    assert (tmp_path / "root" / "code" / "cache").is_dir()


def test_nothing_is_imported_into_a_folder_that_is_only_linked(
    artifacts: ArtifactStore, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    imports = {"/data": str(tmp_path / "data"), "/data/cache": "artifact://cache"}
    with pytest.raises(ImportSourceError, match=r"import /data/cache: .*another import links"):
        import_all(spec(**{"import": imports}), tmp_path / "root", artifacts)
    assert list((tmp_path / "data").iterdir()) == []


def test_folders_that_only_a_container_would_have_are_made(
    artifacts: ArtifactStore, tmp_path: Path
) -> None:
    run = [{"command": "true", "workdir": "/no-such-app"}, {"command": "true", "workdir": "/tmp"}]
    job = spec(run=run, export={"/out": "artifact://x"})
    import_all(job, tmp_path / "job" / "root", artifacts)
    made = sorted(path.name for path in (tmp_path / "job" / "root").iterdir())
    assert made == ["no-such-app", "out"]
    assert (tmp_path / "job").stat().st_mode & 0o077 == 0


def test_says_what_the_disk_says(artifacts: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "artifacts").touch()  # a file where the folder should be
    job = spec(export={"/out": "artifact://x"})
    import_all(job, tmp_path / "root", artifacts)
    with pytest.raises(ImportSourceError, match="export /out: cannot write artifact x: "):
        export_all(job, tmp_path / "root", artifacts)


@pytest.mark.parametrize("ref", ["--upload-pack=touch {0}", "-c{0}", "a;{0}", "main:{0}"])
def test_a_ref_is_never_an_option_of_git(
    repository: Path, artifacts: ArtifactStore, tmp_path: Path, ref: str
) -> None:
    """Not even one that an older version has stored."""
    mark = tmp_path / "mark"
    source = {"url": f"file://{repository}", "ref": ref.format(mark)}
    with pytest.raises(ImportSourceError):
        import_all(spec(**{"import": {"/code": {"git": source}}}), tmp_path / "root", artifacts)
    assert not mark.exists()


def test_remote_helpers_are_not_run(
    artifacts: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest refuses them; git does too, even if its settings allow them."""
    config = tmp_path / "config"
    config.write_text('[protocol "ext"]\n\tallow = always\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    mark = tmp_path / "mark"
    git_source = GitSource.model_construct(url=f"ext::sh -c touch% {mark}", ref=None)
    job = spec(**{"import": {"/code": "artifact://x"}})
    job.imports["/code"] = Source.model_construct(git=git_source, path=None, artifact=None)
    with pytest.raises(ImportSourceError, match="not allowed"):
        import_all(job, tmp_path / "root", artifacts)
    assert not mark.exists()


def test_the_users_hooks_and_submodule_settings_do_not_apply(
    repository: Path, artifacts: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    hook = template / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[init]\n\ttemplateDir = {template.parent}\n[core]\n\thooksPath = {template}\n"
        "[submodule]\n\trecurse = true\n[protocol]\n\tallow = always\n"
    )
    monkeypatch.setenv("HOME", str(home))
    url = f"file://{repository}"
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "--quiet", url, "sub")
    git(repository, "commit", "--quiet", "--message", "three")
    import_all(spec(**{"import": {"/code": {"git": {"url": url}}}}), tmp_path / "root", artifacts)
    assert (tmp_path / "root" / "code" / "word").exists()
    assert not (tmp_path / "root" / "code" / "sub" / "word").exists()
    assert not mark.exists()


def test_an_import_does_not_follow_a_link_of_another(
    repository: Path, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (repository / "cache").symlink_to(elsewhere)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "three")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    artifacts.save("cache", tmp_path / "kept")
    code = {"git": {"url": f"file://{repository}"}}
    imports = {"/code": code, "/code/cache": "artifact://cache"}
    with pytest.raises(ImportSourceError, match="import /code/cache"):
        import_all(spec(**{"import": imports}), tmp_path / "root", artifacts)
    assert list(elsewhere.iterdir()) == []
