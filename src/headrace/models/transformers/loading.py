"""Loads transformers' models from a directory: safetensors only, and no code of the model's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from headrace.core.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

AutoClass = Literal["AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification"]


def load_config(directory: Path) -> "PreTrainedConfig":
    """Raises UnsupportedModelError for a family that transformers does not have."""
    from transformers import AutoConfig

    with _quiet():
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                directory, trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # whatever the class of the config raises
            raise UnsupportedModelError(
                f"transformers cannot read '{directory / 'config.json'}': {_first_line(error)} "
                "Headrace runs no code out of a model's repository. Upgrade transformers if the "
                "family is new, or choose another model."
            ) from error
    return config


def load_model(
    directory: Path,
    auto_class: AutoClass,
    dtype: torch.dtype,
    device: torch.device,
    attention: str = "sdpa",
    **options: Any,
) -> "PreTrainedModel":
    """The model in evaluation mode.

    Raises ModelFileError when weights are missing or do not fit, UnsupportedModelError when
    transformers cannot build it.
    """
    import transformers

    factory = getattr(transformers, auto_class)
    with _quiet():
        try:
            model, report = factory.from_pretrained(
                directory,
                dtype=dtype,
                attn_implementation=attention,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
        except Exception as error:  # whatever the modeling code raises
            raise UnsupportedModelError(
                f"transformers cannot load '{directory}' as {auto_class}: {_first_line(error)}"
            ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelFileError(
            f"'{directory}' lacks {len(missing)} weights, such as '{missing[0]}'. The model is "
            "incomplete, or it is of another task; fetch it again or change --task."
        )
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars and warnings of transformers, which would mix with our own output."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # without types
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0]}." if lines else f"{type(error).__name__}."
