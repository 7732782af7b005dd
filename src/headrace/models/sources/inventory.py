"""Which models are at hand and how to drop one, over all caches. Fetches nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.core.errors import ModelError, ModelNotFoundError
from headrace.models.sources.catalog import CATALOG
from headrace.models.sources.hub_cache import HubCacheEntry, delete_hub_model, hub_cache_entries
from headrace.models.sources.progress import Progress
from headrace.models.sources.reference import (
    HubReference,
    WheelReference,
    parse_reference,
    suggest,
)
from headrace.models.sources.wheel.cache import CacheEntry, ModelCache, same_version


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """One line of ``headrace models list``."""

    name: str
    """What to call it in ``serve``, ``pull`` and ``rm``."""
    source: Literal["wheel", "hub"]
    size_bytes: int
    """On disk; of an available one, what it will take."""
    path: Path | None
    """None where nothing is on disk."""
    state: Literal["complete", "incomplete", "available"]
    """Incomplete ones are fetched again when they are used."""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What ``rm`` would delete, and the deed itself."""

    paths: tuple[Path, ...]
    size_bytes: int
    execute: Callable[[], None]


def list_models(cache: ModelCache) -> list[ListedModel]:
    """What the caches hold, then what the catalog has besides."""
    fetched = [_listed_wheel(entry) for entry in cache.entries()]
    hub = [
        ListedModel(
            name=entry.repo_id,
            source="hub",
            size_bytes=entry.size_bytes,
            path=entry.directory,
            state="complete" if entry.complete else "incomplete",
        )
        for entry in hub_cache_entries()
    ]
    names = {model.name for model in fetched}
    available = [
        ListedModel(
            name=entry.name,
            source="wheel",
            size_bytes=entry.size_bytes,
            path=None,
            state="available",
            description=entry.description,
        )
        for entry in CATALOG
        if entry.name not in names
    ]
    return fetched + hub + available


def plan_removal(model: str, cache: ModelCache, progress: Progress) -> Removal:
    """What would go if this model were removed.

    Raises ModelNotFoundError when no cache has it, ModelError when it is the user's own file.
    """
    try:
        reference = parse_reference(model)
    except ModelNotFoundError:
        if _exists(model):
            raise _own_file(model) from None
        raise
    if isinstance(reference, WheelReference):
        return _wheel_removal(model, reference, cache, progress)
    return _hub_removal(model, reference)


def _wheel_removal(
    model: str, reference: WheelReference, cache: ModelCache, progress: Progress
) -> Removal:
    if model.startswith("pypi:") and reference.file is not None:
        raise ModelError(
            f"A wheel's files are removed together: headrace models rm pypi:{reference.requirement}"
        )
    found = [
        entry
        for entry in cache.versions(reference.package)
        if reference.version is None or same_version(entry.version, reference.version)
    ]
    if not found:
        raise _not_fetched(model, cache)

    def execute() -> None:
        with cache.locked(reference.package, progress):
            for entry in found:
                cache.remove(entry)

    return Removal(
        paths=tuple(entry.directory for entry in found),
        size_bytes=sum(entry.size_on_disk() for entry in found),
        execute=execute,
    )


def _hub_removal(model: str, reference: HubReference) -> Removal:
    if reference.file is not None:
        raise ModelError(
            f"A repository's files are removed together: headrace models rm {reference.repo_id}"
        )
    entries = {entry.repo_id: entry for entry in hub_cache_entries()}
    entry: HubCacheEntry | None = entries.get(reference.repo_id)
    if entry is None:
        if _exists(model):
            raise _own_file(model)
        raise ModelNotFoundError(
            f"'{model}' is not in the hub's cache, nothing to remove."
            f"{suggest(model, entries) if entries else ''}"
        )
    chosen = entry
    return Removal(
        paths=(chosen.directory,),
        size_bytes=chosen.size_bytes,
        execute=lambda: delete_hub_model(chosen),
    )


def _listed_wheel(entry: CacheEntry) -> ListedModel:
    name = f"pypi:{entry.package}=={entry.version}"
    description = ""
    for known in CATALOG:
        if known.package == entry.package and same_version(known.version, entry.version):
            name, description = known.name, known.description
    return ListedModel(
        name=name,
        source="wheel",
        size_bytes=entry.size_on_disk(),
        path=entry.directory,
        state="complete" if entry.is_complete() else "incomplete",
        description=description,
    )


def _not_fetched(model: str, cache: ModelCache) -> ModelNotFoundError:
    names = [_listed_wheel(entry).name for entry in cache.entries()]
    held = f" Fetched are: {', '.join(names)}." if names else ""
    return ModelNotFoundError(f"'{model}' is not in the cache, nothing to remove.{held}")


def _own_file(model: str) -> ModelError:
    return ModelError(
        f"'{model}' is a path. Headrace removes only what it fetched into its caches; "
        "see 'headrace models list' for the names."
    )


def _exists(model: str) -> bool:
    try:
        return Path(model).expanduser().exists()
    except OSError:
        return False
