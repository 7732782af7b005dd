"""What a run exports: its artifacts with their files, which can be downloaded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query
from starlette.responses import FileResponse, Response, StreamingResponse

from headrace.control.api.context import Context, ContextDep
from headrace.control.artifacts.artifact_files import ArtifactFile, find_file, list_files, pack
from headrace.control.artifacts.artifact_store import ArtifactStore
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.run import RunSpec
from headrace.control.operations.runs import read_run
from headrace.control.resources import Run
from headrace.core.errors import HeadraceError
from headrace.dashboard.logs import as_download

router = APIRouter()
Number = Annotated[int, Path(ge=1, le=10_000)]

_MAX_NUM_SHOWN = 200
_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class ExportedFolder:
    """One export of a run, as it is now: a later run may have replaced it."""

    path: str
    """In the run."""
    artifact: str | None
    """The artifact's name; None: it goes to ``folder``."""
    folder: str | None
    """On the control plane's machine."""
    is_stored: bool
    files: Sequence[ArtifactFile]
    """The first ones of the artifact."""
    is_complete: bool
    """They are all."""

    @property
    def num_bytes(self) -> int:
        """Of these files."""
        return sum(file.num_bytes for file in self.files)


def artifacts_of(context: Context, run: Run) -> list[ExportedFolder]:
    """In the order of the manifest."""
    spec = _spec(run)
    return [] if spec is None else [_exported(context, spec, path) for path in spec.exports]


@router.get("/runs/{run_id}/artifacts/{number}/archive")
def download_archive(run_id: str, number: Number, context: ContextDep) -> Response:
    """The artifact of the run's export with this number, from 1, as a tar archive."""
    name, folder = _find(context, run_id, number)
    archive = StreamingResponse(pack(folder), media_type="application/x-tar")
    return as_download(archive, f"{_OTHER_CHARACTERS.sub('-', name)}.tar")


@router.get("/runs/{run_id}/artifacts/{number}/file")
def download_file(
    run_id: str, number: Number, context: ContextDep, path: Annotated[str, Query(max_length=4096)]
) -> Response:
    """One file of that artifact."""
    name, folder = _find(context, run_id, number)
    file = find_file(folder, path)
    if file is None:
        raise HTTPException(404, f"Artifact {name} has no such file.")
    return FileResponse(file, media_type="application/octet-stream", filename=file.name)


def _exported(context: Context, spec: RunSpec, path: str) -> ExportedFolder:
    name = spec.artifact_name(path)
    folder = None if name is None else _store(context).folder(name)
    files = [] if folder is None else list_files(folder, _MAX_NUM_SHOWN + 1)
    return ExportedFolder(
        path=path,
        artifact=name,
        folder=spec.exports[path].path,
        is_stored=folder is not None,
        files=files[:_MAX_NUM_SHOWN],
        is_complete=len(files) <= _MAX_NUM_SHOWN,
    )


def _find(context: Context, run_id: str, number: int) -> tuple[str, FilePath]:
    """The artifact's name and folder. Raises HTTPException."""
    spec = _spec(read_run(context.store, run_id))
    paths = [] if spec is None else list(spec.exports)
    if spec is None or number > len(paths):
        raise HTTPException(404, f"Run {run_id} has no export {number}.")
    name = spec.artifact_name(paths[number - 1])
    folder = None if name is None else _store(context).folder(name)
    if name is None or folder is None:
        raise HTTPException(404, f"Export {number} of run {run_id} is not in the artifact store.")
    return name, folder


def _store(context: Context) -> ArtifactStore:
    return ArtifactStore(context.layout.artifacts)


def _spec(run: Run) -> RunSpec | None:
    """None if another version of Headrace wrote it."""
    try:
        return read_stored(RunSpec, run.spec)
    except HeadraceError:
        return None
