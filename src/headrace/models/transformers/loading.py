"""Loads transformers' models from a directory: safetensors only, and no code of the model's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.loaders.huggingface.transformers_config import first_line, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AutoClass = Literal["AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification"]


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
    with quiet():
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
                f"transformers cannot load '{directory}' as {auto_class}: {first_line(error)}"
            ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelFileError(
            f"'{directory}' lacks {len(missing)} weights, such as '{missing[0]}'. The model is "
            "incomplete, or it is of another task; fetch it again or change --task."
        )
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded
