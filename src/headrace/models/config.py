"""What a decoder looks like: one frozen description, whatever file it was read from.

loaders.hf_config and loaders.gguf.config build it.
"""

from dataclasses import dataclass, field
from typing import Literal

Activation = Literal["silu", "gelu", "gelu_tanh"]


@dataclass(frozen=True, kw_only=True)
class RopeConfig:
    """Rotary position embedding (Su et al., 2021), rotating halves as Hugging Face stores them."""

    theta: float = 10000.0
    scaling: Literal["none", "linear", "dynamic", "llama3", "yarn"] = "none"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    """llama3: wavelengths longer than original_max_position / this are scaled in full."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths shorter than original_max_position / this are left alone."""
    original_max_position: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    """yarn: multiplies cos and sin; None means 0.1 ln(factor) + 1."""
    freq_factors: tuple[float, ...] | None = None
    """Divides each frequency, [head_dim / 2]; GGUF files carry Llama 3's scaling this way."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """A decoder-only transformer with pre-normalization, grouped-query attention and a gated MLP.

    A new family is a new field with a default where that is enough, rather than a class.
    """

    architecture: str
    """The name in config.json's ``architectures``, or GGUF's ``general.architecture``."""
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position: int
    """Longest context the model was trained (or scaled) for."""
    norm_eps: float = 1e-5
    rope: RopeConfig = field(default_factory=RopeConfig)
    activation: Activation = "silu"
    qkv_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    """RMS norm over each head of q and k before rotation (Qwen3)."""
    sliding_window: int | None = None
    """A token attends to this many last positions, its own among them; None means all."""
    sliding_window_layers: tuple[int, ...] = ()
    """The layers that have the window; empty means every layer, if sliding_window is set."""
    tie_word_embeddings: bool = False
    has_output_layer: bool = True
    """False where only hidden states are wanted: the weights of logits are not loaded."""

    @property
    def qkv_size(self) -> int:
        """Rows of the fused projection: queries, then keys, then values."""
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim

    def window_of(self, layer: int) -> int | None:
        """The sliding window of one layer, None where it attends to everything."""
        if self.sliding_window_layers and layer not in self.sliding_window_layers:
            return None
        return self.sliding_window
