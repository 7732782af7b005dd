"""Reads the files that sentence-transformers keeps beside a model's weights.

modules.json lists what follows the net: pooling, normalization. It imports no torch: the server
reads the prompts here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.core.generation.pooling import Pooling

_MODES: Mapping[str, Pooling] = {
    "cls": "cls",
    "mean": "mean",
    "lasttoken": "last",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
"""By the names of ``pooling_mode``, and of the flags in older files."""

_LENGTH_FILES = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "xlm-roberta", "xlnet", "albert")
)


@dataclass(frozen=True, kw_only=True)
class SentenceConfig:
    """How sentence-transformers turns the hidden states into an embedding."""

    pooling: Pooling
    normalize: bool
    max_seq_length: int | None = None
    """Tokens of an input; None: as many as the model has positions."""
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Texts that are put before an input, by name, such as ``query``."""
    default_prompt: str = ""
    """Put before inputs that name no prompt."""


def read_sentence_config(directory: Path) -> SentenceConfig | None:
    """None where there is no modules.json.

    Raises UnsupportedModelError for modules that Headrace does not compute.
    """
    file = directory / "modules.json"
    if not file.is_file():
        return None
    modules = _read(file, list[dict[str, Any]])
    pooling: Pooling | None = None
    normalize = False
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _read_pooling(_inside(directory, str(module.get("path", ""))))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise UnsupportedModelError(
                f"'{file}' lists the module {kind}, which Headrace does not compute. It computes "
                "Transformer, Pooling and Normalize."
            )
    if pooling is None:
        raise UnsupportedModelError(
            f"'{file}' lists no Pooling, so the model gives no embedding of a text."
        )
    max_seq_length, lowercase = _read_lengths(directory)
    prompts, default = _read_prompts(directory)
    return SentenceConfig(
        pooling=pooling,
        normalize=normalize,
        max_seq_length=max_seq_length,
        lowercase=lowercase,
        prompts=prompts,
        default_prompt=default,
    )


def _read_pooling(directory: Path) -> Pooling:
    file = directory / "config.json"
    values = _read(file, dict[str, Any])
    if values.get("include_prompt") is False:
        raise UnsupportedModelError(
            f"'{file}' leaves the prompt out of the pooling (include_prompt: false), which "
            "Headrace does not compute."
        )
    named = values.get("pooling_mode")
    if named is None:
        modes = [name for name in values if name.startswith("pooling_mode_") and values[name]]
    else:
        modes = list(named) if isinstance(named, list) else [str(named)]
    if len(modes) == 1 and modes[0] in _MODES:
        return _MODES[modes[0]]
    raise UnsupportedModelError(
        f"'{file}' asks for the pooling {' and '.join(modes) or 'none'}, which Headrace does not "
        "compute. It computes one of lasttoken, mean and cls."
    )


def _read_lengths(directory: Path) -> tuple[int | None, bool]:
    for name in _LENGTH_FILES:
        if (directory / name).is_file():
            values = _read(directory / name, dict[str, Any])
            length = values.get("max_seq_length")
            known = isinstance(length, int) and length > 0
            return length if known else None, values.get("do_lower_case") is True
    return None, False


def _read_prompts(directory: Path) -> tuple[dict[str, str], str]:
    file = directory / "config_sentence_transformers.json"
    if not file.is_file():
        return {}, ""
    values = _read(file, dict[str, Any])
    given = values.get("prompts")
    prompts = {
        str(name): text
        for name, text in (given.items() if isinstance(given, dict) else ())
        if isinstance(text, str)
    }
    return prompts, prompts.get(str(values.get("default_prompt_name")), "")


def _inside(directory: Path, path: str) -> Path:
    """A module's folder, which may not lead out of the model's."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise ModelFileError(f"modules.json of '{directory}' names a forbidden path: {path!r}.")
    return directory / relative


def _read(file: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError as error:
        raise ModelFileError(f"'{file}' is missing. Fetch the model again.") from error
    except msgspec.DecodeError as error:
        raise ModelFileError(f"'{file}' is damaged: {error}. Fetch it again.") from error
