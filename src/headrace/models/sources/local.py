"""Checks that a model on disk is complete."""

import re
from pathlib import Path

import msgspec

from headrace.core.errors import ModelFileError, ModelNotFoundError

GGUF_MAGIC = b"GGUF"
WEIGHTS_INDEX = "model.safetensors.index.json"

_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")


class _WeightsIndex(msgspec.Struct):
    weight_map: dict[str, str]


def check_directory(directory: Path) -> Path:
    """The directory, if it holds a model in Hugging Face layout with all its weights.

    Raises ModelNotFoundError when it is something else, ModelFileError when parts are missing.
    """
    if not (directory / "config.json").is_file():
        found = sorted(path.name for path in directory.glob("*.gguf"))
        hint = f" For its GGUF file, name '{directory / found[0]}'." if found else ""
        raise ModelNotFoundError(
            f"'{directory}' is a directory without config.json, so it is not a model in Hugging "
            f"Face layout.{hint}"
        )
    missing = missing_weights(directory)
    if missing:
        raise ModelFileError(
            f"'{directory}' is incomplete, it lacks {_enumerate(missing)}. Fetch it again."
        )
    return directory


def missing_weights(directory: Path) -> list[str]:
    """Names of weight files that should be in the directory and are not; empty if complete."""
    index = directory / WEIGHTS_INDEX
    if index.is_file():
        try:
            weights = msgspec.json.decode(index.read_bytes(), type=_WeightsIndex)
        except msgspec.DecodeError as error:
            raise ModelFileError(f"'{index}' is damaged: {error}.") from error
        expected = sorted(set(weights.weight_map.values()))
        return [name for name in expected if not (directory / name).is_file()]
    found = sorted(directory.glob("*.safetensors"))
    if not found:
        return ["*.safetensors"]
    return [part.name for path in found for part in split_parts(path) if not part.is_file()]


def check_gguf(file: Path) -> Path:
    """The file (of a split model, its first part), if it and its other parts are GGUF files.

    Raises ModelFileError when a part is missing or not GGUF.
    """
    parts = split_parts(file)
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ModelFileError(
            f"'{file}' is one of {len(parts)} parts; missing: {_enumerate(missing)}."
        )
    for part in parts:
        if not has_gguf_magic(part):
            raise ModelFileError(
                f"'{part}' is not a GGUF file (it does not begin with 'GGUF'); fetch it again."
            )
    return parts[0]


def has_gguf_magic(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(GGUF_MAGIC)) == GGUF_MAGIC


def split_parts(file: Path) -> list[Path]:
    """All parts of a file named ``…-00002-of-00003.ext``, or just the file itself."""
    match = _SHARD.fullmatch(file.name)
    if match is None:
        return [file]
    count = int(match["count"])
    return [
        file.with_name(f"{match['stem']}-{number:05}-of-{match['count']}{match['suffix']}")
        for number in range(1, count + 1)
    ]


def _enumerate(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
