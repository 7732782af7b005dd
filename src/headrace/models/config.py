"""What a decoder looks like: one frozen description, whatever file it was read from.

loaders.huggingface.config and loaders.gguf.config build it.
"""

from dataclasses import dataclass, field
from typing import Literal

Activation = Literal[
    "silu", "gelu", "gelu_tanh", "relu", "relu2", "quick_gelu", "sigmoid", "clamped_swiglu"
]
"""clamped_swiglu is a gate's alone: (clamp(up) + 1) * quick_gelu(clamp(gate)) (gpt-oss)."""
NormKind = Literal["rms", "layer"]
QkNormKind = Literal["rms_head", "rms_row", "layer_head"]
"""RMS norm of each head with one weight for all (Qwen3, Gemma 3), RMS norm of all heads as one row
(OLMo 2), LayerNorm of each head with its own weight (Command R+, StableLM)."""
NormPlace = Literal["before", "after", "both"]


@dataclass(frozen=True, kw_only=True)
class RopeConfig:
    """Rotary position embedding (Su et al., 2021), rotating halves as Hugging Face stores them."""

    theta: float = 10000.0
    rotary_dim: int | None = None
    """First dimensions of a head that are rotated; None means all."""
    scaling: Literal["none", "linear", "dynamic", "llama3", "yarn", "longrope"] = "none"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    """llama3: wavelengths longer than original_max_position / this are scaled in full."""
    high_freq_factor: float = 4.0
    """llama3: wavelengths shorter than original_max_position / this are left alone."""
    original_max_position: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    """yarn: the first and the last dimension of the blend are rounded to whole ones."""
    attention_factor: float | None = None
    """yarn, longrope: multiplies cos and sin; None means yarn's 0.1 ln(factor) + 1, and longrope's
    sqrt(1 + ln(factor) / ln(original_max_position))."""
    long_factors: tuple[float, ...] | None = None
    """longrope: divides each frequency, [rotary_dim / 2], where the context may be longer than
    original_max_position."""
    short_factors: tuple[float, ...] | None = None
    """longrope: the same for shorter contexts."""
    freq_factors: tuple[float, ...] | None = None
    """Divides each frequency, [head_dim / 2]; GGUF files carry Llama 3's scaling this way."""


@dataclass(frozen=True, kw_only=True)
class MoeConfig:
    """A mixture of experts: each token goes through some of many gated MLPs (Shazeer et al., 2017).

    A router scores the experts; those with the highest scores are computed, and their outputs
    added with weights that are the softmax of the scores.
    """

    num_experts: int
    experts_per_token: int
    intermediate_size: int
    """Of each expert."""
    normalized: bool = True
    """The weights of a token's experts sum to one: the softmax is over their scores alone, which
    is the same as dividing those of a softmax over all by their sum. Otherwise over all."""
    router_bias: bool = False
    bias: bool = False
    """Of the experts' matrices."""
    shared_size: int | None = None
    """Intermediate size of an expert that every token goes through, scaled by the sigmoid of a gate
    of its own (Qwen2-MoE); None where there is none."""
    dense_layers: tuple[int, ...] = ()
    """Layers with a single MLP of DecoderConfig.intermediate_size."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """A decoder-only transformer with grouped-query attention.

    The defaults are Llama's. A new family is a new field with a default where that is enough,
    rather than a class.
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

    norm: NormKind = "rms"
    norm_eps: float = 1e-5
    norm_bias: bool = False
    norm_weight_offset: float = 0.0
    """Added to the weights of norms as they are stored (Gemma: 1)."""
    norm_place: NormPlace = "before"
    """Where attention and MLP have norms: at their input, at their output (OLMo 2), or both
    (Gemma 2)."""
    parallel_residual: bool = False
    """Attention and MLP read the same residual stream (GPT-NeoX; Wang and Komatsuzaki, 2021)."""
    shared_norm: bool = False
    """With a parallel residual: one norm is the input of both (Phi-2, Cohere)."""
    residual_scale: float = 1.0
    """Multiplies what attention and MLP add to the residual stream (Granite)."""

    rope: RopeConfig | None = field(default_factory=RopeConfig)
    """None: no layer rotates (GPT-2)."""
    window_rope: RopeConfig | None = None
    """Of the layers with a sliding window, where they rotate differently (Gemma 3)."""
    unrotated_layers: tuple[int, ...] = ()
    """Layers without rotary embedding (SmolLM3, Cohere 2)."""
    learned_positions: bool = False
    """A table of position embeddings is added to the tokens' (GPT-2, OPT)."""
    embedding_scale: float = 1.0
    """Multiplies the tokens' embeddings (Gemma, Granite)."""

    qkv_bias: bool = False
    attention_output_bias: bool = False
    qk_norm: QkNormKind | None = None
    """The norm of queries and keys before rotation."""
    score_scale: float | None = None
    """Multiplies scores before their softmax; None means 1 / sqrt(head_dim)."""
    score_softcap: float | None = None
    """Scores s become cap * tanh(s / cap) (Gemma 2)."""
    attention_sinks: bool = False
    """Each head has a score for nothing at all, which takes its share of the softmax (gpt-oss)."""
    sliding_window: int | None = None
    """A token attends to this many last positions, its own among them; None means all."""
    sliding_window_layers: tuple[int, ...] = ()
    """The layers that have the window; empty means every layer, if sliding_window is set."""

    gated_mlp: bool = True
    """down(activation(gate(x)) * up(x)); otherwise down(activation(up(x)))."""
    activation: Activation = "silu"
    mlp_bias: bool = False
    moe: MoeConfig | None = None
    """None: every layer has a single MLP."""

    tie_word_embeddings: bool = False
    has_output_layer: bool = True
    """False where only hidden states are wanted: the weights of logits are not loaded."""
    output_bias: bool = False
    """Of the output layer (Phi-2)."""
    logit_scale: float = 1.0
    """Multiplies logits (Cohere, Granite)."""
    logit_softcap: float | None = None
    """Logits x become cap * tanh(x / cap), after the scale (Gemma 2)."""

    @property
    def qkv_size(self) -> int:
        """Rows of the fused projection: queries, then keys, then values."""
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim

    def window_of(self, layer: int) -> int | None:
        """The sliding window of one layer, None where it attends to everything."""
        if self.sliding_window_layers and layer not in self.sliding_window_layers:
            return None
        return self.sliding_window

    def moe_of(self, layer: int) -> MoeConfig | None:
        """The mixture of experts of one layer, None where it has a single MLP."""
        return None if self.moe is None or layer in self.moe.dense_layers else self.moe

    @property
    def window_of_all_layers(self) -> int | None:
        """The sliding window, if every layer has it: no key or value before it is read again."""
        windows = {self.window_of(layer) for layer in range(self.num_layers)}
        return self.sliding_window if windows == {self.sliding_window} else None

    @property
    def rotary_dim(self) -> int:
        """Dimensions of a head that are rotated."""
        rotary_dim = None if self.rope is None else self.rope.rotary_dim
        return self.head_dim if rotary_dim is None else rotary_dim

    def rope_of(self, layer: int) -> RopeConfig | None:
        """How one layer rotates queries and keys; None where it does not."""
        if layer in self.unrotated_layers:
            return None
        if self.window_rope is not None and self.window_of(layer) is not None:
            return self.window_rope
        return self.rope
