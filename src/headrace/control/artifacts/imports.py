"""Puts a spec's imports in place and keeps its exports. Slow: not for an event loop.

Knows no run's state.
"""

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
    """Put each import below ``root``, from nothing; tells what was done, a line each.

    Other folders that the spec speaks of and that this host does not have are made, empty.
    Raises ImportSourceError with what cannot be had. A local path is linked, not copied, as a
    mount would be: it may be as large as a model, and what the command writes there stays there.
    """
    if root.exists():
        shutil.rmtree(root)
    root.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.mkdir()
    # What lies inside of another import comes after it.
    outer_first = sorted(spec.imports.items(), key=lambda item: item[0].rstrip("/").count("/"))
    told = [_import_one(path, source, root, artifacts) for path, source in outer_first]
    for folder in mount_paths(spec, root, lambda path: Path(path).is_dir()).values():
        if not folder.exists():
            folder.mkdir(parents=True)
    return told


def export_all(spec: RunSpec, root: Path, artifacts: ArtifactStore) -> list[str]:
    """Keep each export; tells what was done, a line each. Raises ImportSourceError."""
    return [_export_one(spec, path, root / path.lstrip("/"), artifacts) for path in spec.exports]


def _import_one(path: str, source: Source, root: Path, artifacts: ArtifactStore) -> str:
    target = root / path.lstrip("/")
    inside = root.resolve()
    if not (target.parent.resolve() / target.name).resolve().is_relative_to(inside):
        raise ImportSourceError(
            f"import {path}: it would lie in a folder of this machine, which another import links."
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
        return f"There is no artifact {name} yet; {path} is empty"
    except OSError as error:  # the disk is full, or closed to us; shutil.Error is one too
        raise ImportSourceError(f"import {path}: {error}") from None


def _link(path: str, origin: Path, target: Path) -> None:
    if not origin.exists():
        raise ImportSourceError(f"import {path}: there is no {origin} on this machine.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(origin.resolve())


def _export_one(spec: RunSpec, path: str, folder: Path, artifacts: ArtifactStore) -> str:
    if not folder.is_dir():
        raise ImportSourceError(f"export {path}: the commands left no such folder.")
    name = spec.artifact_name(path)
    target = Path(str(spec.exports[path].path))
    try:
        if name is not None:
            artifacts.save(name, folder)
            return f"Kept {path} as artifact {name}"
        shutil.copytree(folder, target, symlinks=True, dirs_exist_ok=True)
    except OSError as error:  # shutil.Error is one too
        where = f"artifact {name}" if name is not None else target
        raise ImportSourceError(f"export {path}: {where} cannot be written: {error}") from None
    return f"Kept {path} in {target}"


def _clone(source: GitSource, target: Path) -> str:
    """A shallow clone at the ref; returns the commit. A ref may be a branch, a tag or a commit,
    so it is fetched by name rather than cloned, which takes no commits."""
    if shutil.which("git") is None:
        raise ImportSourceError(f"{source.url} needs git, which is not installed here.")
    fault = None if source.ref is None else ref_fault(source.ref)
    if fault is not None:  # stored by an older version
        raise ImportSourceError(f"{source.url} cannot be imported at {source.ref!r}: it {fault}.")
    target.mkdir(parents=True, exist_ok=True)
    _git(target, source, "init", "--quiet", "--template=")
    _git(target, source, "remote", "add", _NO_MORE_OPTIONS, "origin", source.url)
    fetch = ("fetch", "--quiet", "--depth", "1", _NO_MORE_OPTIONS, "origin", source.ref or "HEAD")
    try:
        _git(target, source, *fetch)
    except ImportSourceError:
        # An abbreviated commit, or a server that gives out no commit by name: fetch them all.
        everything = "+refs/*:refs/remotes/all/*"
        _git(target, source, "fetch", "--quiet", "--tags", _NO_MORE_OPTIONS, "origin", everything)
        _git(target, source, "checkout", "--quiet", "--detach", _commit(target, source), "--")
    else:
        _git(target, source, "checkout", "--quiet", "--detach", "FETCH_HEAD", "--")
    return _git(target, source, "rev-parse", "--short", "HEAD").strip()


def _commit(folder: Path, source: GitSource) -> str:
    """Of all that was fetched, the one that the ref names."""
    if source.ref is None:
        return "FETCH_HEAD"
    try:
        commit = f"{source.ref}^{{commit}}"
        return _git(folder, source, "rev-parse", "--verify", _NO_MORE_OPTIONS, commit).strip()
    except ImportSourceError:
        raise ImportSourceError(
            f"{source.url} has no branch, tag or commit '{source.ref}'."
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
            f"{source.url} did not answer within {_GIT_TIMEOUT_S:g} s."
        ) from None
    if done.returncode != 0:
        reason = _reason(done.stderr) or f"git ended with exit code {done.returncode}"
        at = f" at {source.ref}" if source.ref else ""
        raise ImportSourceError(f"{source.url}{at} cannot be imported: {reason}")
    return done.stdout


def _reason(stderr: str) -> str:
    """What went wrong, without the advice that git adds after an empty line."""
    said = stderr.strip().partition("\n\n")[0].splitlines()
    return "; ".join(line.removeprefix("fatal: ") for line in said if not line.startswith("hint:"))


def _git_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Nobody is there to be asked for a password; no repository around us matters."""
    kept = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    return {
        **{name: value for name, value in kept.items() if name != "SSH_ASKPASS"},
        "GIT_ALLOW_PROTOCOL": ":".join(GIT_PROTOCOLS),
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
