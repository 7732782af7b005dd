"""Which models can have adapters."""

from headrace.core.errors import UnsupportedModelError
from headrace.engine.config import EngineConfig


def check_adapters(
    config: EngineConfig, *, gives_vectors: bool = False, is_native: bool = True
) -> None:
    """Raises UnsupportedModelError if adapters are asked for, and the model cannot have any.

    gives_vectors: the model embeds or classifies. is_native: it is not computed by transformers'
    code.
    """
    if config.enable_lora and (gives_vectors or not is_native):
        kind = "embed or classify" if gives_vectors else "are computed by transformers' code"
        raise UnsupportedModelError(
            f"Models that {kind} have no LoRA adapters in Headrace. Start without --enable-lora, "
            "or merge the adapter into its model."
        )
