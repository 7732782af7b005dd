"""Causal LMs of any family that transformers has, with our paged attention in its modeling code.

A step is one flattened sequence with the position of each token; transformers' attention interface
calls ours, which keeps requests apart.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from headrace.core.errors import UnsupportedModelError
from headrace.models.attention.base import Attention, PagedBatch
from headrace.models.config import DecoderConfig
from headrace.models.decoder import Decoder
from headrace.models.ops.torch_ops import TorchOps
from headrace.models.rope import RotaryTables
from headrace.models.transformers.attention_interface import PagedLayers, attach
from headrace.models.transformers.probe import Probe, probe_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersDecoder(Decoder):
    """A `Decoder` whose order of operations is that of a class in transformers.

    ``forward`` gives hidden states after the final norm.
    """

    def __init__(
        self,
        config: DecoderConfig,
        model: "PreTrainedModel",
        attention: Attention,
        probe: Probe,
    ) -> None:
        """model: with the attention implementation ATTENTION_NAME, as ``probe_layers`` left it.

        Raises UnsupportedModelError if its class cannot be divided into a net and a head.
        """
        device = model.device
        super().__init__(config, TorchOps(model.dtype, device), _NamedAttention(attention))
        factors = [call.scale / attention.spec.scale for call in probe.calls]
        self._layers = PagedLayers(attention, factors)
        self.weight_bytes = sum(weight.nbytes for weight in model.parameters())
        self._net: nn.Module = model
        self._head: OutputHead | None = None
        if probe.logits is not None:
            self._net, self._head = split_head(model, probe.logits)
        for part in (self._net, model):
            attach(part, self._layers.attend)

    def set_rotary(self, tables: RotaryTables | Sequence[RotaryTables]) -> None:
        """The model's code rotates: the tables of a config without rotary embedding turn by
        nothing."""
        super().set_rotary(tables)
        self._layers.set_rotary(*self._rotary[0])

    def forward(self, token_ids: Tensor) -> Tensor:
        output = self._net(
            input_ids=token_ids[None],
            position_ids=self.attention.positions[None].long(),
            use_cache=False,
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def final_norm(self, hidden: Tensor) -> Tensor:
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        if self._head is None:
            raise UnsupportedModelError("The model was loaded without its output layer.")
        return self._head.logits(hidden)


class OutputHead:
    """What the model's class computes after its net: the output layer, scaling, soft-capping."""

    def __init__(self, model: "PreTrainedModel", given: "_GivenHidden") -> None:
        self._model = model
        self._given = given

    def logits(self, hidden: Tensor) -> Tensor:
        """[R, vocab] for hidden states [R, H]."""
        self._given.hidden = hidden[None]
        token_ids = torch.zeros(1, len(hidden), dtype=torch.int64, device=hidden.device)
        found: Tensor = self._model(input_ids=token_ids, use_cache=False).logits[0]
        return found


def split_head(model: "PreTrainedModel", logits: Tensor) -> tuple[nn.Module, OutputHead]:
    """The net, and the model's class with hidden states in place of it.

    logits: what the whole gave for the probe's tokens; the two parts must give the same.
    """
    prefix = model.base_model_prefix
    net = getattr(model, prefix, None)
    given = _GivenHidden()
    head = OutputHead(model, given)
    found: Tensor | None = None
    if isinstance(net, nn.Module):
        setattr(model, prefix, given)
        with suppress(Exception), torch.inference_mode():  # whatever the modeling code raises
            found = head.logits(net(**probe_tokens(model), use_cache=False).last_hidden_state[0])
    if found is None or not torch.equal(found, logits):
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot be divided into a net and an output layer as "
            "transformers' other causal LMs can. Serve it with transformers or vLLM."
        )
    assert isinstance(net, nn.Module)
    return net, head


class _GivenHidden(nn.Module):
    """Stands for a model's net and returns hidden states that are computed already."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import MoeModelOutputWithPast

        return MoeModelOutputWithPast(last_hidden_state=self.hidden)


class _NamedAttention(Attention):
    """The backend, under a name that says what calls it."""

    def __init__(self, inner: Attention) -> None:
        super().__init__(inner.spec)
        self._inner = inner

    @property
    def name(self) -> str:
        return f"{self._inner.name}, in transformers' modeling code"

    @property
    def block_bytes(self) -> int:
        return self._inner.block_bytes

    def allocate(self, num_blocks: int) -> None:
        self._inner.allocate(num_blocks)

    def begin_step(self, batch: PagedBatch) -> None:
        self._inner.begin_step(batch)

    @property
    def positions(self) -> Tensor:
        return self._inner.positions

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        cos: Tensor,
        sin: Tensor,
        qk_norm: tuple[Tensor, Tensor, float] | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        return self._inner.attend(layer, qkv, cos, sin, qk_norm, sinks)
