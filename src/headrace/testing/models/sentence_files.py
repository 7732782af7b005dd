"""The files that sentence-transformers keeps beside a model's weights."""

import json
from collections.abc import Mapping
from pathlib import Path

from headrace.core.generation.pooling import Pooling

_MODES = {
    "last": "pooling_mode_lasttoken",
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
}


def write_sentence_files(
    directory: Path,
    pooling: Pooling,
    *,
    normalize: bool = True,
    max_seq_length: int | None = None,
    prompts: Mapping[str, str] | None = None,
    default_prompt_name: str | None = None,
) -> None:
    """What sentence-transformers keeps beside the weights."""
    names = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{name}" if index else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for index, name in enumerate(names)
    ]
    (directory / "1_Pooling").mkdir()
    modes = {flag: mode == pooling for mode, flag in _MODES.items()}
    contents: dict[str, object] = {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": 64, **modes},
        "config_sentence_transformers.json": {
            "prompts": dict(prompts or {}),
            "default_prompt_name": default_prompt_name,
        },
    }
    if max_seq_length is not None:
        contents["sentence_bert_config.json"] = {"max_seq_length": max_seq_length}
    for name, content in contents.items():
        (directory / name).write_text(json.dumps(content))
