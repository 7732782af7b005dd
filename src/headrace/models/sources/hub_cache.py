"""What the hub library's cache holds, and how to delete from it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.core.errors import ModelError
from headrace.models.sources.folder_growth import folder_size
from headrace.models.sources.local import check_gguf, missing_weights


@dataclass(frozen=True, kw_only=True)
class HubCacheEntry:
    """One model repository in the hub library's cache."""

    repo_id: str
    directory: Path
    size_bytes: int
    complete: bool
    """Whether some snapshot of it can be served."""
    revisions: tuple[str, ...]
    """Commit hashes; empty where the first download was cut short."""


def hub_cache_entries() -> list[HubCacheEntry]:
    """The models in the hub library's cache, in the order of their names."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        scanned = scan_cache_dir()
    except CacheNotFound:
        return []
    entries = {
        repo.repo_id: HubCacheEntry(
            repo_id=repo.repo_id,
            directory=repo.repo_path,
            size_bytes=folder_size(repo.repo_path),
            complete=any(_is_servable(revision.snapshot_path) for revision in repo.revisions),
            revisions=tuple(sorted(revision.commit_hash for revision in repo.revisions)),
        )
        for repo in scanned.repos
        if repo.repo_type == "model"
    }
    for entry in _cut_short(Path(constants.HF_HUB_CACHE)):
        entries.setdefault(entry.repo_id, entry)
    return [entries[repo_id] for repo_id in sorted(entries)]


def delete_hub_model(entry: HubCacheEntry) -> None:
    """Delete a repository with all its revisions, the way the library does it.

    Raises ModelError, and deletes nothing, if its folder leads out of the cache.
    """
    from huggingface_hub import constants, scan_cache_dir

    root = Path(constants.HF_HUB_CACHE).resolve()
    if entry.directory.resolve().parent != root:
        raise ModelError(f"'{entry.directory}' leads out of the hub's cache; it was left alone.")
    if entry.revisions:
        scan_cache_dir().delete_revisions(*entry.revisions).execute()
    if entry.directory.exists():  # the library does not see what was cut short
        shutil.rmtree(entry.directory)


def _cut_short(root: Path) -> Iterator[HubCacheEntry]:
    """Repositories without any snapshot yet, which the library's scan leaves out."""
    for directory in root.glob("models--*--*"):
        if directory.is_dir():
            yield HubCacheEntry(
                repo_id=directory.name.removeprefix("models--").replace("--", "/"),
                directory=directory,
                size_bytes=folder_size(directory),
                complete=False,
                revisions=(),
            )


def _is_servable(snapshot: Path) -> bool:
    try:
        if (snapshot / "config.json").is_file() and not missing_weights(snapshot):
            return True
        return any(check_gguf(file).is_file() for file in snapshot.rglob("*.gguf"))
    except (ModelError, OSError):
        return False
