"""Reads the mixture of experts out of a model's description."""

from typing import Any

from headrace.core.errors import ModelFileError
from headrace.models.config import MoeConfig
from headrace.models.loaders.metadata import Metadata

MAX_NUM_EXPERTS = 4096
"""Of a layer: a damaged file may claim billions."""


def read_mixture(
    config: Metadata, num_experts_key: str, experts_per_token_key: str, **fields: Any
) -> MoeConfig:
    """fields: the others of MoeConfig. Raises ModelFileError for numbers that make no sense."""
    num_experts = config.integer(num_experts_key)
    per_token = config.integer(experts_per_token_key)
    if per_token > num_experts or num_experts > MAX_NUM_EXPERTS:
        raise ModelFileError(
            f"{config.where} says {per_token} of {num_experts} experts for each token, which makes "
            "no sense. Fetch the model again."
        )
    return MoeConfig(num_experts=num_experts, experts_per_token=per_token, **fields)
