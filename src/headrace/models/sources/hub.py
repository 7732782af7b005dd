"""Models of the Hugging Face hub, through its own library and in its own cache.

The library obeys HF_TOKEN, HF_HOME and HF_HUB_OFFLINE, resumes what was interrupted and locks its
files; here we choose which files to fetch and say clearly what went wrong.
"""

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headrace.core.errors import ModelError, ModelNotFoundError
from headrace.models.sources.folder_growth import reporting_growth
from headrace.models.sources.local import check_directory, check_gguf, split_parts
from headrace.models.sources.progress import Progress, stage
from headrace.models.sources.redact import redact
from headrace.models.sources.reference import HubReference

WANTED = (
    "*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "quantize_config.json",
    "quant_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.tiktoken",
    "chat_template.*",
    "additional_chat_templates/*.jinja",
)
UNWANTED = (
    "*/*.safetensors",  # exports for other runtimes
    "consolidated*.safetensors",  # the same weights again, under other names
    "adapter_model.safetensors",
)


def fetch_hub_model(reference: HubReference, revision: str | None, progress: Progress) -> Path:
    """The snapshot's directory, or the GGUF file of it that was asked for.

    Raises ModelNotFoundError when there is no such repository or file, ModelFileError when it is
    incomplete, ModelError when it cannot be fetched.
    """
    listing: dict[str, int] | None = None
    failure: Exception | None = None
    try:
        listing = _list_files(reference.repo_id, revision)
    except Exception as error:  # the library raises its own, its HTTP client's and OS errors
        failure = error
    wanted = list(WANTED) if reference.file is None else _gguf_patterns(reference.file)
    if listing is not None:
        _check_listing(reference, listing)
        snapshot = _download(reference.repo_id, revision, wanted, listing, progress)
    else:
        assert failure is not None
        snapshot = _cached_snapshot(reference.repo_id, revision, wanted, failure)
    if reference.file is None:
        return check_directory(snapshot)
    file = snapshot / reference.file
    if not file.is_file():
        raise _explain(reference.repo_id, failure or FileNotFoundError(reference.file))
    return check_gguf(file)


def _list_files(repo_id: str, revision: str | None) -> dict[str, int]:
    """Names and sizes of what the repository holds, as the hub says."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
    return {file.rfilename: file.size or 0 for file in info.siblings or ()}


def _check_listing(reference: HubReference, listing: dict[str, int]) -> None:
    """Say before anything is fetched that the repository has nothing for us."""
    repo_id = reference.repo_id
    ggufs = sorted(name for name in listing if name.lower().endswith(".gguf"))
    if reference.file is not None:
        if reference.file not in listing:
            raise ModelNotFoundError(
                f"The hub's {repo_id} has no file '{reference.file}'.{_name_files(repo_id, ggufs)}"
            )
        return
    if "config.json" not in listing and ggufs:
        raise ModelNotFoundError(
            f"The hub's {repo_id} holds GGUF files; name one.{_name_files(repo_id, ggufs)}"
        )
    if "config.json" not in listing:
        raise ModelNotFoundError(f"The hub's {repo_id} is not a model: it has no config.json.")
    if not any(_is_wanted(name) and name.endswith(".safetensors") for name in listing):
        raise ModelNotFoundError(
            f"The hub's {repo_id} has no safetensors weights, the only ones that we read besides "
            "GGUF."
        )


def _download(
    repo_id: str,
    revision: str | None,
    wanted: list[str],
    listing: dict[str, int],
    progress: Progress,
) -> Path:
    from huggingface_hub import constants, snapshot_download

    total = sum(size for name, size in listing.items() if _is_wanted(name, wanted))
    blobs = Path(constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}" / "blobs"
    try:
        with (
            stage(progress, f"Downloading {repo_id}", total),
            reporting_growth(blobs, progress),
            _quiet_library(),
        ):
            snapshot = snapshot_download(
                repo_id,
                revision=revision,
                allow_patterns=wanted,
                ignore_patterns=list(UNWANTED),
            )
    except Exception as error:
        raise _explain(repo_id, error) from error
    return Path(snapshot)


def _cached_snapshot(
    repo_id: str, revision: str | None, wanted: list[str], failure: Exception
) -> Path:
    """What the hub's cache has, because the hub itself gave only ``failure``."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot = snapshot_download(
            repo_id,
            revision=revision,
            allow_patterns=wanted,
            ignore_patterns=list(UNWANTED),
            local_files_only=True,
        )
    except LocalEntryNotFoundError:
        raise _explain(repo_id, failure) from failure
    except Exception as error:
        raise _explain(repo_id, error) from error
    return Path(snapshot)


def _explain(repo_id: str, error: Exception) -> ModelError:
    """One line that says what to do, without secrets."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"The hub's {repo_id} is gated: ask for access on its page, then set HF_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelNotFoundError(f"The hub's {repo_id} has no such revision.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelNotFoundError(
            f"The hub has no model {repo_id}, or it is private: check the name, or set HF_TOKEN. "
            "(There is no directory of that name here either.)"
        )
    if isinstance(error, errors.HFValidationError):
        return ModelNotFoundError(f"'{repo_id}' is not a hub id: {_first_line(error)}")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ModelNotFoundError(
            f"HF_HUB_OFFLINE is set and the hub's cache does not have all of {repo_id}. "
            "Unset it to download."
        )
    return ModelError(
        f"The hub did not give {repo_id} ({type(error).__name__}: {_first_line(error)}). "
        "Check the network and the disk, then try again; what has come is kept."
    )


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep the library's own progress bars off the screen; ours show the same."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    # With the variable set, in either sense, the library warns when it is set otherwise.
    if os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _gguf_patterns(file: str) -> list[str]:
    """Patterns that match this file and, if it is split, its other parts."""
    parent = file.rpartition("/")[0]
    prefix = f"{parent}/" if parent else ""
    return [glob.escape(prefix + part.name) for part in split_parts(Path(file))]


def _is_wanted(name: str, patterns: Sequence[str] = WANTED) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns) and not any(
        fnmatch.fnmatchcase(name, pattern) for pattern in UNWANTED
    )


def _name_files(repo_id: str, ggufs: list[str]) -> str:
    if not ggufs:
        return ""
    shown = ", ".join(f"{repo_id}:{name}" for name in ggufs[:6])
    return f" For example: {shown}." if len(ggufs) > 6 else f" There is: {shown}."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return redact(lines[0]) if lines else "no reason given"
