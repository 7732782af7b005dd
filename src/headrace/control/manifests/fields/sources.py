"""Sources of imports and destinations of exports."""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, model_validator

from headrace.control.manifests.compat import alternative_shapes
from headrace.control.manifests.fields.names import Filled, MountPath, PlainName
from headrace.control.manifests.parsing.manifest_model import ManifestModel, NoEffect, fault

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.I)
_HOST_AND_PATH = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:[0-9]+)?/.+")
GIT_PROTOCOLS = ("https", "http", "ssh", "file")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HELPER = re.compile(r"[A-Za-z0-9]+::")
"""``ext::sh -c ...``: a remote helper, which can run any command."""
_NOT_IN_A_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{")
_ARTIFACT_SCHEMES = ("artifact", "vessl-artifact")
_NOT_HERE = {
    "hf": "give the model by its hub id under `model`, or clone it with `git`",
    "s3": "fetch it in the command, or import a local folder",
    "gs": "fetch it in the command, or import a local folder",
    "vessl-dataset": "import a local folder, or keep it as an artifact (artifact://NAME)",
    "vessl-model": "import a local folder, or keep it as an artifact (artifact://NAME)",
    "volume": "import a local folder, or keep it as an artifact (artifact://NAME)",
}
_KEPT_HERE = (*_ARTIFACT_SCHEMES, "file", "hostpath")
_KEEP_IT = "keep it as an artifact (artifact://NAME) or in a local folder"
_KINDS_ELSEWHERE = {
    "dataset": "vessl-dataset", "model": "vessl-model", "hf": "hf", "s3": "s3", "gs": "gs",
    "volume": "volume",
}  # fmt: skip


def _clone_url(value: str) -> str:
    """``github.com/o/r.git`` and ``git://github.com/o/r`` as the https address to clone."""
    text = value.strip()
    if text.startswith("git://"):
        text = "https://" + text.removeprefix("git://")
    elif _SCHEME.match(text) is None and _HOST_AND_PATH.fullmatch(text) and "@" not in text:
        text = "https://" + text
    scheme = _SCHEME.match(text)
    is_known = scheme is None or scheme.group(1).lower() in GIT_PROTOCOLS
    if text.startswith("-") or _CONTROL.search(text) or _HELPER.match(text) or not is_known:
        raise ValueError(
            "must be the address of a git repository: https://, ssh://, user@host:path or a folder"
        )
    if _holds_a_credential(text, scheme is not None):
        # Tokens are often put where the user's name goes.
        raise ValueError("must not hold a user or password; use git's own credential helper")
    return text


def _holds_a_credential(url: str, has_scheme: bool) -> bool:
    """Over HTTP a user name may be a token; over SSH it is part of the address."""
    if has_scheme:
        place = urlsplit(url).netloc
        user, at, _ = place.rpartition("@")
        is_http = url.lower().startswith(("https://", "http://"))
        return bool(at) and (is_http or ":" in user)
    user, at, _ = url.partition("@")
    return bool(at) and ":" in user and not user.startswith((".", "/"))


def ref_fault(ref: str) -> str | None:
    """The reason if git does not accept this as a branch, a tag or a commit; else None.

    As ``git check-ref-format`` has it. A ref that begins with ``-`` would be an option of git.
    """
    parts = ref.split("/")
    if (
        ref.startswith("-")
        or ref == "@"
        or ref.endswith(".")
        or _NOT_IN_A_REF.search(ref)
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    ):
        return "must be a branch, a tag or a commit"
    return None


class GitSource(ManifestModel):
    """A git repository."""

    url: Annotated[Filled, AfterValidator(_clone_url)]
    """URL, or ``github.com/owner/repository``, or a local path."""
    ref: Filled | None = None
    """Branch, tag or commit. Default: the remote HEAD."""
    credential_name: Annotated[str | None, NoEffect("git asks its own credential helper")] = None


class Artifact(ManifestModel):
    """A named folder in the artifact store."""

    name: PlainName | None = None
    """None, for exports only: named after the run and the folder."""
    organization: Annotated[str | None, NoEffect("artifacts are identified by name only")] = None
    project: Annotated[str | None, NoEffect("artifacts are identified by name only")] = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str):
            return _artifact_parts(value)
        if not isinstance(value, dict):
            return value
        return alternative_shapes.artifact(value)


class Source(ManifestModel):
    """The source of an import. Exactly one of the fields is set."""

    git: GitSource | None = None
    path: str | None = None
    """Absolute path of a folder or file on this machine."""
    artifact: Artifact | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str):
            return _parse_source(value)
        _refuse_elsewhere(value)
        return value

    @model_validator(mode="after")
    def _check(self) -> "Source":
        if sum(part is not None for part in (self.git, self.path, self.artifact)) != 1:
            raise ValueError("must be one of git, path and artifact")
        if self.artifact is not None and self.artifact.name is None:
            raise fault("names no artifact; write artifact://NAME", "artifact")
        return self

    @property
    def kind(self) -> Literal["git", "path", "artifact"]:
        if self.git is not None:
            return "git"
        return "path" if self.path is not None else "artifact"


class Destination(ManifestModel):
    """The destination of an export. Exactly one of the fields is set."""

    path: str | None = None
    """Absolute path of a folder on this machine."""
    artifact: Artifact | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str):
            match = _SCHEME.match(value)
            if match is not None and match.group(1).lower() not in _KEPT_HERE:
                raise ValueError(f"{match.group()} cannot be reached from here; {_KEEP_IT}")
            return _parse_source(value)
        for kind in [*_KINDS_ELSEWHERE, "git"]:
            if isinstance(value, dict) and kind in value:
                raise fault(f"cannot be reached from here; {_KEEP_IT}", kind)
        return value

    @model_validator(mode="after")
    def _check(self) -> "Destination":
        if (self.path is None) == (self.artifact is None):
            raise ValueError("must be one of path and artifact")
        return self


def _by_distinct_paths(value: Any) -> Any:
    """Refuses both ``/code`` and ``/code/``, which are the same path."""
    if not isinstance(value, dict):
        return value
    seen: dict[PurePosixPath, str] = {}
    for key in value:
        path = PurePosixPath(key)
        if path in seen:
            raise fault(f"is the same path as {seen[path]}; keep one", key)
        seen[path] = key
    return value


Imports = Annotated[
    dict[MountPath, Source],
    BeforeValidator(_by_distinct_paths, json_schema_input_type=dict[str, str | Source]),
]
Exports = Annotated[
    dict[MountPath, Destination],
    BeforeValidator(_by_distinct_paths, json_schema_input_type=dict[str, str | Destination]),
]


def at_folder(value: Any, folder: Path) -> Any:
    """The source or destination with local paths absolute; relative ones are below ``folder``."""
    if isinstance(value, str):
        parsed = _parse_source(value) if _is_local(value) else None
        return value if parsed is None else at_folder(parsed, folder)
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        return {**value, "path": str(folder / os.path.expanduser(value["path"]))}
    if isinstance(value, dict) and isinstance(value.get("git"), dict):
        url = value["git"].get("url")
        if isinstance(url, str) and url.startswith("."):
            return {**value, "git": {**value["git"], "url": str(folder / url)}}
    return value


def _is_local(text: str) -> bool:
    match = _SCHEME.match(text)
    return match is None or match.group(1).lower() in ("file", "hostpath")


def _parse_source(text: str) -> dict[str, Any]:
    match = _SCHEME.match(text)
    if match is None:
        if not text.strip():
            raise ValueError("must not be empty")
        return {"path": text}
    scheme, rest = match.group(1).lower(), text[match.end() :]
    if scheme in _ARTIFACT_SCHEMES:
        return {"artifact": _artifact_parts(text)}
    if scheme in ("file", "hostpath"):
        return {"path": rest}
    if scheme in _NOT_HERE:
        raise ValueError(f"{scheme}:// cannot be reached from here; {_NOT_HERE[scheme]}")
    if scheme in ("git", "ssh") or rest.endswith(".git"):
        return {"git": {"url": text}}
    raise ValueError(
        f"{scheme}:// is not known; use git {{url, ref}}, artifact://NAME or a local path"
    )


def _artifact_parts(text: str) -> dict[str, Any]:
    """Of ``vessl-artifact://ORG/PROJECT/NAME`` or ``artifact://NAME``; the name may be left out."""
    match = _SCHEME.match(text)
    if match is None:
        return {"name": text}
    if match.group(1).lower() not in _ARTIFACT_SCHEMES:
        raise ValueError("must be artifact://NAME")
    parts = [part for part in text[match.end() :].split("/") if part]
    if len(parts) > 3:
        raise ValueError("must be artifact://NAME or vessl-artifact://ORGANIZATION/PROJECT/NAME")
    names = ("name", "project", "organization")
    return dict(zip(names, reversed(parts), strict=False))


def _refuse_elsewhere(value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError("must be git {url, ref}, artifact://NAME or a local path")
    for kind, scheme in _KINDS_ELSEWHERE.items():
        if kind in value:
            raise fault(f"cannot be reached from here; {_NOT_HERE[scheme]}", kind)
