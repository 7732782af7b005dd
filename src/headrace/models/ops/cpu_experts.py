"""The experts of a layer as the CPU kernels read them, and their products."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from headrace.core.errors import UnsupportedModelError
from headrace.models import large_pages
from headrace.models.config import Activation
from headrace.models.ops.base import ExpertMatrices, Routing, Weight
from headrace.models.ops.tiles import interleave, tiles_of
from headrace.models.simd import vectors
from headrace.models.simd.experts.grouped_products import Groups, add_groups, gate_groups
from headrace.models.simd.matmul import COLUMNS
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import Element


@dataclass(slots=True)
class PackedExperts(Weight):
    """All experts of a layer, one after the other; each matrix as ``tiles_of`` makes it."""

    gate_up: Tensor
    """[E, N / 16, H / g, 32, g]: each block holds 16 columns of gate, then the same 16 of up."""
    down: Tensor
    """[E, H / 32, N / g, 32, g]."""
    gate_up_bias: Tensor | None
    """[E, 2 N padded] float32, in the order of gate_up's columns."""
    down_bias: Tensor | None
    """[E, H padded] float32."""
    activation: Activation
    hidden_size: int
    """H."""

    @property
    def num_bytes(self) -> int:
        return self.gate_up.nbytes + self.down.nbytes

    @property
    def num_experts(self) -> int:
        return self.gate_up.shape[0]


def pack_experts(
    experts: Iterable[ExpertMatrices], num_experts: int, activation: Activation, dtype: torch.dtype
) -> PackedExperts:
    """Raises UnsupportedModelError for an activation that the kernels do not compute."""
    if activation not in vectors.GATES:
        raise UnsupportedModelError(
            f"The experts' activation is '{activation}', which the CPU kernels do not "
            f"compute. They compute {', '.join(vectors.GATES)}."
        )
    stacks: list[Tensor | None] = [None] * 4
    hidden_size = 0
    for index, expert in enumerate(experts):
        hidden_size = expert.down.shape[0]
        parts = (
            tiles_of(interleave(expert.gate.to(dtype), expert.up.to(dtype))),
            tiles_of(expert.down.to(dtype)),
            _interleaved_bias(expert.gate_up_bias),
            _padded_bias(expert.down_bias),
        )
        for place, part in enumerate(parts):
            if part is None:
                continue
            stack = stacks[place]
            if stack is None:
                stack = large_pages.empty((num_experts, *part.shape), part.dtype)
                stacks[place] = stack
            stack[index].copy_(part)
    gate_up, down, gate_up_bias, down_bias = stacks
    assert gate_up is not None
    assert down is not None
    return PackedExperts(gate_up, down, gate_up_bias, down_bias, activation, hidden_size)


def add_experts(
    pool: ThreadPool,
    tag: Element,
    x: Tensor,
    routing: Routing,
    experts: PackedExperts,
    residual: Tensor,
) -> None:
    """As ``Ops.add_experts``; x and the residual stream are of the right shapes and types."""
    grouped = _GroupedRows(routing, experts.num_experts)
    rows = x.index_select(0, grouped.tokens_of_rows)
    _, num_gate_blocks, num_k, _, _ = experts.gate_up.shape
    _, num_down_blocks, num_down_k, _, _ = experts.down.shape
    hidden = torch.empty(len(rows), num_gate_blocks * vectors.LANES, dtype=x.dtype)
    gate_groups(
        pool,
        tag,
        groups=grouped.groups,
        x=rows.data_ptr(),
        x_stride=rows.stride(0) * x.element_size(),
        w=experts.gate_up.data_ptr(),
        num_k=num_k,
        num_blocks=num_gate_blocks,
        bias=0 if experts.gate_up_bias is None else experts.gate_up_bias.data_ptr(),
        activation=vectors.GATES[experts.activation],
        out=hidden.data_ptr(),
        out_stride=hidden.stride(0) * x.element_size(),
    )
    add_groups(
        pool,
        tag,
        groups=grouped.groups,
        x=hidden.data_ptr(),
        x_stride=hidden.stride(0) * x.element_size(),
        w=experts.down.data_ptr(),
        num_k=num_down_k,
        num_blocks=num_down_blocks,
        bias=0 if experts.down_bias is None else experts.down_bias.data_ptr(),
        tokens=grouped.tokens.ctypes.data,
        scales=grouped.scales.ctypes.data,
        out=residual.data_ptr(),
        out_stride=residual.stride(0) * 4,
    )


class _GroupedRows:
    """The pairs of a token and an expert, P = T * k of them, in the order of the experts."""

    def __init__(self, routing: Routing, num_experts: int) -> None:
        num_tokens, k = routing.experts.shape
        experts, weights = routing.experts.numpy(), routing.weights.numpy()
        if experts.max() >= num_experts:
            raise ValueError(f"there are {num_experts} experts, not {experts.max() + 1}")
        if num_tokens == 1:  # decode: the experts of a token are in their order
            self._experts = experts[0].astype(np.int32)
            self._starts = np.arange(k + 1, dtype=np.int32)
            self.tokens: npt.NDArray[np.int32] = np.zeros(k, np.int32)
            """[P]."""
            self.scales: npt.NDArray[np.float32] = np.ascontiguousarray(weights[0])
            """[P]."""
        else:
            flat = experts.ravel()
            order = np.argsort(flat, kind="stable")
            counts = np.bincount(flat, minlength=num_experts)
            self._experts = np.flatnonzero(counts).astype(np.int32)
            self._starts = np.zeros(len(self._experts) + 1, np.int32)
            np.cumsum(counts[self._experts], out=self._starts[1:])
            self.tokens = (order // k).astype(np.int32)
            self.scales = weights.ravel()[order]
        self.groups = Groups(
            self._experts.ctypes.data, self._starts.ctypes.data, len(self._experts), num_tokens * k
        )

    @property
    def tokens_of_rows(self) -> Tensor:
        """[P] int32."""
        return torch.from_numpy(self.tokens)


def _interleaved_bias(bias: Tensor | None) -> Tensor | None:
    if bias is None:
        return None
    gate, up = bias.float()[:, None].chunk(2)
    return _padded_bias(interleave(gate, up).flatten())


def _padded_bias(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else functional.pad(bias.float(), (0, -len(bias) % COLUMNS))
