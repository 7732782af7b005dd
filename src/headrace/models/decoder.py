"""The decoder: one neural net for every family that DecoderConfig can describe.

Gives the order of operations. models.ops and models.attention compute them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headrace.models.attention.base import Attention
from headrace.models.config import DecoderConfig
from headrace.models.loaders.base import WeightReader
from headrace.models.ops.base import Ops, Weight
from headrace.models.rope import RotaryTables

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Layer:
    """The weights of one layer. Norms are [H] float32 (q and k's: [head_dim])."""

    attention_norm: Tensor
    qkv: Weight
    q_norm: Tensor | None
    k_norm: Tensor | None
    attention_output: Weight
    mlp_norm: Tensor
    gate_up: Weight
    down: Weight


class Decoder:
    """Pre-norm decoder with grouped-query attention and a gated MLP."""

    def __init__(self, config: DecoderConfig, ops: Ops, attention: Attention) -> None:
        self.config = config
        self.ops = ops
        self.attention = attention
        self.layers: list[Layer] = []
        self._embedding: Weight
        self._output: Weight
        self._final_norm: Tensor
        self._cos: Tensor
        self._sin: Tensor

    def set_rotary(self, tables: RotaryTables) -> None:
        """Rotate by these tables, which must reach as far as any position that will come."""
        self._cos = tables.cos.to(self.ops.device).contiguous()
        self._sin = tables.sin.to(self.ops.device).contiguous()

    def load(self, weights: WeightReader, progress: Progress | None = None) -> int:
        """Read and pack every weight, one layer at a time; gives the bytes they take.

        progress: called with (layers done, layers in all).
        """
        reader = _LayerReader(self.config, self.ops, weights)
        total = self.config.num_layers + 1
        table = reader.read("model.embed_tokens.weight")
        if not self.config.has_output_layer:
            self._embedding = self._output = self.ops.pack_embedding(table, None)
        elif self.config.tie_word_embeddings:
            self._output = self.ops.pack(table)
            self._embedding = self.ops.pack_embedding(table, self._output)
        else:
            self._embedding = self.ops.pack_embedding(table, None)
            self._output = self.ops.pack(reader.read("lm_head.weight"))
        self._final_norm = reader.read_norm("model.norm.weight")
        for index in range(self.config.num_layers):
            if progress is not None:
                progress(index + 1, total)
            self.layers.append(reader.read_layer(index))
        if progress is not None:
            progress(total, total)
        return self._num_bytes()

    def forward(self, token_ids: Tensor) -> Tensor:
        """The residual stream after the last layer, [T, H]; attention.begin_step comes before.

        token_ids: [T] int64.
        """
        ops, eps = self.ops, self.config.norm_eps
        hidden = ops.embed(token_ids, self._embedding)
        for index, layer in enumerate(self.layers):
            qkv = ops.linear(ops.norm(hidden, layer.attention_norm, eps), layer.qkv)
            qk_norm = None
            if layer.q_norm is not None and layer.k_norm is not None:
                qk_norm = (layer.q_norm, layer.k_norm, eps)
            attended = self.attention.attend(index, qkv, self._cos, self._sin, qk_norm)
            ops.add_linear(attended, layer.attention_output, hidden)
            gated = ops.gated_linear(ops.norm(hidden, layer.mlp_norm, eps), layer.gate_up)
            ops.add_linear(gated, layer.down, hidden)
        return hidden

    def final_norm(self, hidden: Tensor) -> Tensor:
        """[R, H] for R rows of what ``forward`` gave: the hidden states that are pooled."""
        return self.ops.norm(hidden, self._final_norm, self.config.norm_eps)

    def logits(self, hidden: Tensor) -> Tensor:
        """[R, vocab] for R rows of what ``forward`` gave."""
        return self.ops.linear(self.final_norm(hidden), self._output)

    def _num_bytes(self) -> int:
        weights = [self._output]
        if self._embedding is not self._output:
            weights.append(self._embedding)
        for layer in self.layers:
            weights += [layer.qkv, layer.attention_output, layer.gate_up, layer.down]
        return sum(weight.num_bytes for weight in weights)


class _LayerReader:
    """Reads canonical names and fuses what is computed together."""

    def __init__(self, config: DecoderConfig, ops: Ops, weights: WeightReader) -> None:
        self._config = config
        self._ops = ops
        self._weights = weights

    def read_layer(self, index: int) -> Layer:
        config, ops = self._config, self._ops
        layer = f"model.layers.{index}"
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        qkv = [f"{attention}.{name}_proj" for name in "qkv"]
        gate_up_bias = None
        if config.mlp_bias:
            gate_up_bias = self._stack([f"{mlp}.gate_proj.bias", f"{mlp}.up_proj.bias"])
        return Layer(
            attention_norm=self.read_norm(f"{layer}.input_layernorm.weight"),
            qkv=ops.pack(
                self._stack([f"{name}.weight" for name in qkv]),
                self._stack([f"{name}.bias" for name in qkv]) if config.qkv_bias else None,
            ),
            q_norm=self.read_norm(f"{attention}.q_norm.weight") if config.qk_norm else None,
            k_norm=self.read_norm(f"{attention}.k_norm.weight") if config.qk_norm else None,
            attention_output=ops.pack(
                self.read(f"{attention}.o_proj.weight"),
                self.read(f"{attention}.o_proj.bias") if config.attention_output_bias else None,
            ),
            mlp_norm=self.read_norm(f"{layer}.post_attention_layernorm.weight"),
            gate_up=ops.pack_gated(
                self.read(f"{mlp}.gate_proj.weight"),
                self.read(f"{mlp}.up_proj.weight"),
                config.activation,
                gate_up_bias,
            ),
            down=ops.pack(
                self.read(f"{mlp}.down_proj.weight"),
                self.read(f"{mlp}.down_proj.bias") if config.mlp_bias else None,
            ),
        )

    def read(self, name: str) -> Tensor:
        return self._weights.read(name, self._ops.dtype)

    def read_norm(self, name: str) -> Tensor:
        return self._weights.read(name, torch.float32).to(self._ops.device).contiguous()

    def _stack(self, names: list[str]) -> Tensor:
        return torch.cat([self.read(name) for name in names])
