"""Reads rotary embedding out of Hugging Face's config.json."""

import math
from dataclasses import dataclass

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.config import RopeConfig
from headrace.models.loaders.architectures import HfArchitecture
from headrace.models.loaders.metadata import Metadata


@dataclass(frozen=True, slots=True)
class Ropes:
    """How the layers of a model rotate."""

    every_layer: RopeConfig | None
    with_window: RopeConfig | None = None
    """Those with a sliding window, if they differ."""


def read_rope(config: Metadata, architecture: HfArchitecture, head_dim: int) -> Ropes:
    """From ``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling``."""
    if architecture.rotated == "none":
        return Ropes(None)
    rope = config.mapping("rope_parameters") or config.mapping("rope_scaling")
    by_kind = rope is not None and (
        rope.get("full_attention") is not None or rope.get("sliding_attention") is not None
    )
    if architecture.window_theta is None:
        if by_kind:
            raise UnsupportedModelError(
                "The model's kinds of layers rotate differently, which Headrace does not compute."
            )
        return Ropes(_rope(config, architecture, head_dim, rope))
    window_theta = config.number("rope_local_base_freq", architecture.window_theta)
    if rope is None or not by_kind:
        every_layer = _rope(config, architecture, head_dim, rope)
        return Ropes(every_layer, RopeConfig(theta=window_theta))
    every_layer = _rope(config, architecture, head_dim, rope.mapping("full_attention"))
    local = rope.mapping("sliding_attention")
    if local is None:
        return Ropes(every_layer, RopeConfig(theta=window_theta))
    return Ropes(every_layer, _scaled(config, local, window_theta, None))


def _rope(
    config: Metadata, architecture: HfArchitecture, head_dim: int, rope: Metadata | None
) -> RopeConfig:
    rotary_dim = _rotary_dim(config, architecture, head_dim, rope)
    theta = config.number("rope_theta", 10000.0)
    if rope is None:
        return RopeConfig(theta=theta, rotary_dim=rotary_dim)
    return _scaled(config, rope, rope.number("rope_theta", theta), rotary_dim)


def _rotary_dim(
    config: Metadata, architecture: HfArchitecture, head_dim: int, rope: Metadata | None
) -> int | None:
    """None for a whole head."""
    share = config.number("partial_rotary_factor", architecture.rotary_share or 1.0)
    if rope is not None:
        share = rope.number("partial_rotary_factor", share)
    if share == 1.0:
        return None
    if architecture.rotary_share is None:
        raise UnsupportedModelError(
            f"The model rotates {share:.0%} of each head, and Headrace only whole heads in this "
            "family."
        )
    rotary_dim = int(head_dim * share)
    if not 0 < rotary_dim <= head_dim or rotary_dim % 2:
        raise ModelFileError(
            f"config.json says that {share:g} of each head's {head_dim} dimensions are rotated, "
            "which is no number of pairs. Fetch it again."
        )
    return rotary_dim


def _scaled(config: Metadata, rope: Metadata, theta: float, rotary_dim: int | None) -> RopeConfig:
    theta = rope.number("rope_theta", theta)
    kind = rope.text("rope_type", rope.text("type", "default"))
    if rope.get("long_factor") is not None:
        kind = "longrope"  # also called "su", and "yarn" once
    max_position = config.integer("max_position_embeddings")
    original = rope.integer("original_max_position_embeddings", max_position)
    match kind:
        case "default":
            return RopeConfig(theta=theta, rotary_dim=rotary_dim)
        case "linear":
            factor = rope.number("factor")
            return RopeConfig(theta=theta, rotary_dim=rotary_dim, scaling="linear", factor=factor)
        case "dynamic":
            return RopeConfig(
                theta=theta,
                rotary_dim=rotary_dim,
                scaling="dynamic",
                factor=rope.number("factor"),
                original_max_position=max_position,
            )
        case "llama3":
            return RopeConfig(
                theta=theta,
                rotary_dim=rotary_dim,
                scaling="llama3",
                factor=rope.number("factor"),
                low_freq_factor=rope.number("low_freq_factor"),
                high_freq_factor=rope.number("high_freq_factor"),
                original_max_position=original,
            )
        case "yarn":
            return _yarn(rope, theta, rotary_dim, original, max_position)
        case "longrope":
            return _longrope(config, rope, theta, rotary_dim)
    raise UnsupportedModelError(
        f"The model scales its rotary embedding by '{kind}', which Headrace does not compute. It "
        "computes default, linear, dynamic, llama3, yarn and longrope."
    )


def _yarn(
    rope: Metadata, theta: float, rotary_dim: int | None, original: int, max_position: int
) -> RopeConfig:
    factor = rope.optional_number("factor") or max_position / original
    amplitude = rope.optional_number("attention_factor")
    scale, scale_all = rope.optional_number("mscale"), rope.optional_number("mscale_all_dim")
    if amplitude is None and scale and scale_all and factor > 1:
        logarithm = 0.1 * math.log(factor)
        amplitude = (scale * logarithm + 1) / (scale_all * logarithm + 1)
    return RopeConfig(
        theta=theta,
        rotary_dim=rotary_dim,
        scaling="yarn",
        factor=factor,
        original_max_position=original,
        beta_fast=rope.number("beta_fast", 32.0),
        beta_slow=rope.number("beta_slow", 1.0),
        truncate=rope.flag("truncate", True),
        attention_factor=amplitude,
    )


def _longrope(config: Metadata, rope: Metadata, theta: float, rotary_dim: int | None) -> RopeConfig:
    max_position = config.integer("max_position_embeddings")
    original = config.integer("original_max_position_embeddings", max_position)
    original = rope.integer("original_max_position_embeddings", original)
    return RopeConfig(
        theta=theta,
        rotary_dim=rotary_dim,
        scaling="longrope",
        factor=rope.optional_number("factor") or max_position / original,
        original_max_position=original,
        attention_factor=rope.optional_number("attention_factor"),
        long_factors=rope.numbers("long_factor"),
        short_factors=rope.numbers("short_factor"),
    )
