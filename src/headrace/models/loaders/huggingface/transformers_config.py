"""What transformers knows of a model's config.json: families that have no row in architectures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.core.errors import UnsupportedModelError
from headrace.models.config import DecoderConfig

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_SCALED_BY_LENGTH = ("dynamic", "longrope")
"""Kinds of rotary scaling whose angles depend on the longest sequence of a step."""


def describe_model(directory: Path, *, has_output_layer: bool) -> DecoderConfig:
    """What config.json says, as far as memory and context length need it.

    Raises UnsupportedModelError for what is no causal LM with attention in every layer.
    """
    config = load_config(directory)
    _check_class(config)
    text: Any = config.get_text_config()
    names = config.architectures or [type(config).__name__.removesuffix("Config")]
    num_heads = text.num_attention_heads
    return DecoderConfig(
        architecture=names[0],
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        intermediate_size=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        num_layers=text.num_hidden_layers,
        num_heads=num_heads,
        num_kv_heads=getattr(text, "num_key_value_heads", None) or num_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // num_heads,
        max_position=_max_position(text),
        rope=None,  # transformers' code rotates
        has_output_layer=has_output_layer,
    )


def load_config(directory: Path) -> "PreTrainedConfig":
    """Raises UnsupportedModelError for a family that transformers does not have."""
    from transformers import AutoConfig

    with quiet():
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                directory, trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # whatever the class of the config raises
            raise UnsupportedModelError(
                f"transformers cannot read '{directory / 'config.json'}': {first_line(error)} "
                "Headrace runs no code out of a model's repository. Upgrade transformers if the "
                "family is new, or choose another model."
            ) from error
    return config


@contextmanager
def quiet() -> Iterator[None]:
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


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0]}." if lines else f"{type(error).__name__}."


def _check_class(config: Any) -> None:
    from transformers import AutoModelForCausalLM

    kind = type(config)
    mapping: Any = AutoModelForCausalLM._model_mapping
    if config.is_encoder_decoder or kind not in mapping:
        raise UnsupportedModelError(
            f"A model of the type {config.model_type!r} is no causal LM (encoder-decoder models "
            "and models for images or speech are none). Serve it with transformers or vLLM."
        )
    model_class = mapping[kind]
    if model_class._is_stateful:
        raise UnsupportedModelError(
            f"{model_class.__name__} keeps a recurrent state (a state-space or hybrid model), "
            "which Headrace's KV cache does not hold. Serve it with vLLM or llama.cpp."
        )
    if not model_class._supports_attention_backend:
        raise UnsupportedModelError(
            f"{model_class.__name__} does not call transformers' attention interface, so Headrace "
            "cannot give it paged attention. Serve it with transformers or vLLM."
        )


def _max_position(text: Any) -> int:
    """Angles that depend on the longest sequence of a step would differ between a request's steps:
    such models get the context up to which nothing is scaled."""
    limit = getattr(text, "max_position_embeddings", None)
    if not isinstance(limit, int):
        raise UnsupportedModelError(
            "The model's config names no max_position_embeddings, so its context length is unknown."
        )
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = (
        rope.values() if rope and all(isinstance(each, dict) for each in rope.values()) else [rope]
    )
    for each in kinds:
        if each.get("rope_type") in _SCALED_BY_LENGTH:
            original = each.get("original_max_position_embeddings") or limit
            limit = min(limit, original)
    return limit
