"""Performs the imports and exports of specs. Blocking: call the functions in a thread."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from headrace.control.artifacts.artifact_store import ArtifactStore
from headrace.control.errors import ImportSourceError
from headrace.control.launchers.mounts import mount_paths
from headrace.control.manifests.fields.sources import GIT_PROTOCOLS, GitSource, Source, ref_fault
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec

_GIT_TIMEOUT_S = 1800.0
_NO_MORE_OPTIONS = "--end-of-options"
_SETTINGS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "submodule.recurse=false"),
    *("-c", "fetch.recurseSubmodules=false"),
)
"""Disable hooks and submodules, which the user's own git settings may enable."""


def import_all(spec: RevisionSpec | RunSpec, root: Path, artifacts: ArtifactStore) -> list[str]:
    """Recreate ``root`` with all imports; returns a line for each.

    Other folders that the spec names and that this host does not have are created empty. A local
    path is linked, as a mount would be, and not copied: it may be large, and what the command
    writes there must persist. Raises ImportSourceError.
    """
    if root.exists():
        shutil.rmtree(root)
    root.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.mkdir()
    # Nested imports come after their parents.
    outer_first = sorted(spec.imports.items(), key=lambda item: item[0].rstrip("/").count("/"))
    imported = [_import_one(path, source, root, artifacts) for path, source in outer_first]
    for folder in mount_paths(spec, root, lambda path: Path(path).is_dir()).values():
        if not folder.exists():
            folder.mkdir(parents=True)
    return imported


def export_all(spec: RunSpec, root: Path, artifacts: ArtifactStore) -> list[str]:
    """Perform all exports; returns a line for each. Raises ImportSourceError."""
    return [_export_one(spec, path, root / path.lstrip("/"), artifacts) for path in spec.exports]


def _import_one(path: str, source: Source, root: Path, artifacts: ArtifactStore) -> str:
    target = root / path.lstrip("/")
    inside = root.resolve()
    if not (target.parent.resolve() / target.name).resolve().is_relative_to(inside):
        raise ImportSourceError(
            f"import {path}: it would be inside a folder of this machine that another import links."
        )
    try:
        if source.git is not None:
            commit = _clone(source.git, target)
            return f"Imported {source.git.url} at {commit} as {path}"
        if source.path is not None:
            _link(path, Path(source.path), target)
            return f"Imported {source.path} as {path}"
        name = "" if source.artifact is None else source.artifact.name or ""
        if artifacts.load(name, target):
            return f"Imported artifact {name} as {path}"
        return f"Artifact {name} does not exist yet; {path} is empty"
    except OSError as error:  # such as a full disk; includes shutil.Error
        raise ImportSourceError(f"import {path}: {error}") from None


def _link(path: str, origin: Path, target: Path) -> None:
    if not origin.exists():
        raise ImportSourceError(f"import {path}: {origin} does not exist on this machine.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(origin.resolve())


def _export_one(spec: RunSpec, path: str, folder: Path, artifacts: ArtifactStore) -> str:
    if not folder.is_dir():
        raise ImportSourceError(f"export {path}: the commands created no such folder.")
    name = spec.artifact_name(path)
    target = Path(str(spec.exports[path].path))
    try:
        if name is not None:
            artifacts.save(name, folder)
            return f"Exported {path} as artifact {name}"
        shutil.copytree(folder, target, symlinks=True, dirs_exist_ok=True)
    except OSError as error:  # includes shutil.Error
        where = f"artifact {name}" if name is not None else target
        raise ImportSourceError(f"export {path}: cannot write {where}: {error}") from None
    return f"Exported {path} to {target}"


def _clone(source: GitSource, target: Path) -> str:
    """A shallow checkout of the ref; returns the commit. `git clone` does not accept commits as
    refs, so the ref is fetched."""
    if shutil.which("git") is None:
        raise ImportSourceError(f"Cannot import {source.url}: git is not installed.")
    fault = None if source.ref is None else ref_fault(source.ref)
    if fault is not None:  # stored by an older version
        raise ImportSourceError(f"Cannot import {source.url}: ref {source.ref!r} {fault}.")
    target.mkdir(parents=True, exist_ok=True)
    _git(target, source, "init", "--quiet", "--template=")
    _git(target, source, "remote", "add", _NO_MORE_OPTIONS, "origin", source.url)
    fetch = ("fetch", "--quiet", "--depth", "1", _NO_MORE_OPTIONS, "origin", source.ref or "HEAD")
    try:
        _git(target, source, *fetch)
    except ImportSourceError:
        # An abbreviated commit, or a server that does not allow fetching commits: fetch all refs.
        everything = "+refs/*:refs/remotes/all/*"
        _git(target, source, "fetch", "--quiet", "--tags", _NO_MORE_OPTIONS, "origin", everything)
        _git(target, source, "checkout", "--quiet", "--detach", _commit(target, source), "--")
    else:
        _git(target, source, "checkout", "--quiet", "--detach", "FETCH_HEAD", "--")
    return _git(target, source, "rev-parse", "--short", "HEAD").strip()


def _commit(folder: Path, source: GitSource) -> str:
    """The fetched commit that the ref names."""
    if source.ref is None:
        return "FETCH_HEAD"
    try:
        commit = f"{source.ref}^{{commit}}"
        return _git(folder, source, "rev-parse", "--verify", _NO_MORE_OPTIONS, commit).strip()
    except ImportSourceError:
        raise ImportSourceError(
            f"No branch, tag or commit '{source.ref}' in {source.url}."
        ) from None


def _git(folder: Path, source: GitSource, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *_SETTINGS, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            check=False,
            env=_git_environment(os.environ),
        )
    except subprocess.TimeoutExpired:
        raise ImportSourceError(
            f"Timeout after {_GIT_TIMEOUT_S:g} s while importing {source.url}."
        ) from None
    if done.returncode != 0:
        reason = _reason(done.stderr) or f"git exited with code {done.returncode}"
        at = f" at {source.ref}" if source.ref else ""
        raise ImportSourceError(f"Cannot import {source.url}{at}: {reason}")
    return done.stdout


def _reason(stderr: str) -> str:
    """git's error messages, without its hints."""
    lines = stderr.strip().partition("\n\n")[0].splitlines()
    return "; ".join(line.removeprefix("fatal: ") for line in lines if not line.startswith("hint:"))


def _git_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Without prompts for passwords, and independent of any surrounding repository."""
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    return {
        **{name: value for name, value in kept.items() if name != "SSH_ASKPASS"},
        "GIT_ALLOW_PROTOCOL": ":".join(GIT_PROTOCOLS),
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
