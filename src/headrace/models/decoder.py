"""The decoder: one neural net for every family that DecoderConfig can describe.

Gives the order of operations. models.parts, models.ops and models.attention compute them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headrace.models.attention.base import Attention, AttentionSpec
from headrace.models.config import DecoderConfig
from headrace.models.loaders.base import WeightReader
from headrace.models.ops.base import Ops, Weight
from headrace.models.parts.mlp import Mlp, read_mlp
from headrace.models.parts.moe import read_moe
from headrace.models.parts.norm import NoNorm, Norm, QkNorm, read_norm, read_qk_norm
from headrace.models.parts.part_reader import PartReader
from headrace.models.parts.residual_output import ResidualOutput, read_residual_output
from headrace.models.rope import RotaryTables

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Layer:
    """The parts of one layer."""

    attention_norm: Norm
    qkv: Weight
    qk_norm: QkNorm | None
    sinks: Tensor | None
    """[num_heads] float32."""
    attention_output: ResidualOutput
    mlp_norm: Norm | None
    """None: the MLP reads what attention reads."""
    mlp: Mlp


class Decoder:
    """Layers of grouped-query attention and an MLP over a residual stream."""

    def __init__(self, config: DecoderConfig, ops: Ops, attention: Attention) -> None:
        self.config = config
        self.ops = ops
        self.attention = attention
        self.layers: list[Layer] = []
        self._embedding: Weight
        self._positions: Weight | None = None
        self._output: Weight
        self._final_norm: Norm
        self._rotary: list[tuple[Tensor, Tensor]] = []
        """A layer: cos and sin."""
        # Rounded as transformers rounds Gemma's.
        self._embedding_scale = torch.tensor(config.embedding_scale, dtype=ops.dtype).item()

    def set_rotary(self, tables: RotaryTables | Sequence[RotaryTables]) -> None:
        """Rotate by these tables, which must reach as far as any position that will come.

        tables: those of all layers, or one for each layer (rope.layer_rotary_tables).
        """
        if isinstance(tables, RotaryTables):
            tables = [tables] * self.config.num_layers
        device = self.ops.device
        placed = {
            id(table): (table.cos.to(device).contiguous(), table.sin.to(device).contiguous())
            for table in tables
        }
        self._rotary = [placed[id(table)] for table in tables]

    def load(self, weights: WeightReader, progress: Progress | None = None) -> int:
        """Read and pack every weight, one layer at a time; gives the bytes they take.

        progress: called with (layers done, layers in all).
        """
        config, ops = self.config, self.ops
        reader = PartReader(config, ops, weights)
        total = config.num_layers + 1
        table = reader.matrix("model.embed_tokens")
        has_bias = config.has_output_layer and config.output_bias
        output_bias = reader.bias("lm_head") if has_bias else None
        if not config.has_output_layer:
            self._embedding = self._output = ops.pack_embedding(table, None)
        elif config.tie_word_embeddings:
            self._output = ops.pack(table, output_bias)
            self._embedding = ops.pack_embedding(table, self._output)
        else:
            self._embedding = ops.pack_embedding(table, None)
            self._output = ops.pack(reader.matrix("lm_head"), output_bias)
        if config.learned_positions:
            self._positions = ops.pack_embedding(reader.matrix("model.embed_positions"), None)
        self._final_norm = read_norm(reader, "model.norm")
        for index in range(config.num_layers):
            if progress is not None:
                progress(index + 1, total)
            self.layers.append(_read_layer(reader, index))
        if progress is not None:
            progress(total, total)
        return self._num_bytes()

    def forward(self, token_ids: Tensor) -> Tensor:
        """The residual stream after the last layer, [T, H]. The attention's ``begin_step`` and that
        of the operations come before.

        token_ids: [T] int64.
        """
        ops, parallel = self.ops, self.config.parallel_residual
        hidden = self._embed(token_ids)
        for index, layer in enumerate(self.layers):
            mlp_norm = layer.mlp_norm
            normed = layer.attention_norm(hidden)
            mlp_input = normed
            if parallel and mlp_norm is not None:
                mlp_input = mlp_norm(hidden)
            qkv = ops.linear(normed, layer.qkv)
            qk_norm = None
            if layer.qk_norm is not None:
                layer.qk_norm.apply(qkv)
                qk_norm = layer.qk_norm.fused
            cos, sin = self._rotary[index]
            attended = self.attention.attend(index, qkv, cos, sin, qk_norm, layer.sinks)
            layer.attention_output.add(attended, hidden)
            if not parallel and mlp_norm is not None:
                mlp_input = mlp_norm(hidden)
            layer.mlp.add(mlp_input, hidden)
        return hidden

    def final_norm(self, hidden: Tensor) -> Tensor:
        """[R, H] for R rows of what ``forward`` gave: the hidden states that are pooled."""
        return self._final_norm(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """[R, vocab] for R rows of what ``forward`` gave."""
        config = self.config
        logits = self.ops.linear(self._final_norm(hidden), self._output)
        if config.logit_scale != 1.0:
            logits = logits * config.logit_scale
        if config.logit_softcap is not None:
            logits = torch.tanh(logits / config.logit_softcap) * config.logit_softcap
        return logits

    def layer_weights(self) -> Iterator[tuple[list[str], Weight]]:
        """The matrices of all layers, each with the canonical modules whose rows it stacks."""
        for index, layer in enumerate(self.layers):
            attention, mlp = f"model.layers.{index}.self_attn", f"model.layers.{index}.mlp"
            yield [f"{attention}.{name}_proj" for name in "qkv"], layer.qkv
            yield [f"{attention}.o_proj"], layer.attention_output.weight
            for modules, weight in layer.mlp.weights():
                yield [f"{mlp}.{module}" for module in modules], weight

    def _embed(self, token_ids: Tensor) -> Tensor:
        hidden = self.ops.embed(token_ids, self._embedding)
        if self._embedding_scale != 1.0:
            hidden *= self._embedding_scale
        if self._positions is not None:
            hidden += self.ops.embed(self.attention.positions.long(), self._positions)
        return hidden

    def _num_bytes(self) -> int:
        weights = [self._output]
        if self._embedding is not self._output:
            weights.append(self._embedding)
        if self._positions is not None:
            weights.append(self._positions)
        weights += [weight for _, weight in self.layer_weights()]
        return sum(weight.num_bytes for weight in weights)


def attention_spec(
    config: DecoderConfig, block_size: int, dtype: torch.dtype, device: torch.device
) -> AttentionSpec:
    """What a decoder of this config needs of its attention."""
    return AttentionSpec(
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        block_size=block_size,
        dtype=dtype,
        device=device,
        windows=tuple(config.window_of(layer) for layer in range(config.num_layers)),
        score_scale=config.score_scale,
        softcap=config.score_softcap,
    )


def _read_layer(reader: PartReader, index: int) -> Layer:
    config, layer = reader.config, f"model.layers.{index}"
    attention, moe = f"{layer}.self_attn", config.moe_of(index)

    def input_norm(name: str) -> Norm:
        if config.norm_place == "after":
            return NoNorm(reader.ops, config.hidden_size)
        return read_norm(reader, f"{layer}.{name}")

    return Layer(
        attention_norm=input_norm("input_layernorm"),
        qkv=reader.qkv(attention),
        qk_norm=read_qk_norm(reader, attention),
        sinks=reader.vector(f"{attention}.sinks.weight") if config.attention_sinks else None,
        attention_output=read_residual_output(
            reader,
            f"{attention}.o_proj",
            f"{layer}.attention_output_norm",
            bias=config.attention_output_bias,
        ),
        mlp_norm=None if config.shared_norm else input_norm("post_attention_layernorm"),
        mlp=read_mlp(reader, layer) if moe is None else read_moe(reader, layer, moe),
    )
