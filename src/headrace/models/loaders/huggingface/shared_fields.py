"""Fields of DecoderConfig that the rows of several families read alike."""

from collections.abc import Mapping

from headrace.models.loaders.architectures import Fields
from headrace.models.loaders.metadata import Metadata

ATTENTION_BIAS: Mapping[str, str] = {
    "qkv_bias": "attention_bias",
    "attention_output_bias": "attention_bias",
}
"""For ``HfArchitecture.flags``."""


def granite_scales(config: Metadata) -> Fields:
    """Granite's multipliers."""
    return {
        "embedding_scale": config.number("embedding_multiplier", 1.0),
        "score_scale": config.number("attention_multiplier", 1.0),
        "residual_scale": config.number("residual_multiplier", 1.0),
        "logit_scale": 1.0 / config.number("logits_scaling", 1.0),
    }
