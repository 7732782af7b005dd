"""The operations of a decoder, and the form in which each backend stores its weights.

A backend packs weights at load as its kernels read them best. The packed form is private to the
backend.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from headrace.models.config import Activation


class Weight(ABC):
    """A matrix [out_features, in_features] as one backend packed it."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """What it takes of memory."""


class ExpertMatrices(NamedTuple):
    """A gated MLP, one of many in a layer; all on the CPU."""

    gate: Tensor
    """[N, H]."""
    up: Tensor
    """[N, H]."""
    down: Tensor
    """[H, N]."""
    gate_up_bias: Tensor | None = None
    """[2 N], gate's first."""
    down_bias: Tensor | None = None
    """[H]."""


class Routing(NamedTuple):
    """The experts that each token goes through, k of them."""

    experts: Tensor
    """[T, k] int64, ascending in each row, no two alike."""
    weights: Tensor
    """[T, k] float32."""


class LowRank(ABC):
    """What one adapter adds to one weight, as one backend packed it."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """What it takes of memory."""


class LowRankPart(NamedTuple):
    """The rows from first_row on of a weight's product get x @ a.T @ b.T added."""

    first_row: int
    a: Tensor
    """[r, K] float32, on the CPU."""
    b: Tensor
    """[rows, r] float32, on the CPU; the adapter's scale is in it."""


class AdapterRows(NamedTuple):
    """The rows [start, end) of a step have the adapter in this slot."""

    slot: int
    start: int
    end: int


class Ops(ABC):
    """Everything but attention. Activations have ``dtype``; the residual stream's type is the
    backend's own choice and only passes through these methods.

    T is the number of tokens in a step.
    """

    name: str

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device

    @abstractmethod
    def pack(self, weight: Tensor, bias: Tensor | None = None) -> Weight:
        """For ``linear`` and ``add_linear``. weight: [N, K] on the CPU; bias: [N]."""

    @abstractmethod
    def pack_gated(
        self, gate: Tensor, up: Tensor, activation: Activation, bias: Tensor | None = None
    ) -> Weight:
        """For ``gated_linear``. gate, up: [N, K] on the CPU; bias: [2 N], gate's first."""

    @abstractmethod
    def pack_activated(
        self, weight: Tensor, activation: Activation, bias: Tensor | None = None
    ) -> Weight:
        """For ``activated_linear``. weight: [N, K] on the CPU; bias: [N]."""

    @abstractmethod
    def pack_experts(
        self, experts: Iterable[ExpertMatrices], num_experts: int, activation: Activation
    ) -> Weight:
        """For ``add_experts``. experts: num_experts, taken one at a time."""

    @abstractmethod
    def pack_low_rank(self, weight: Weight, parts: Sequence[LowRankPart]) -> LowRank:
        """What an adapter adds to a packed weight, other than an embedding. The rows of parts are
        those that the weight was packed from: for a gated one gate's, then up's. Another thread
        may call it during a step."""

    @abstractmethod
    def place_low_rank(self, weight: Weight, slot: int, low_rank: LowRank | None) -> None:
        """Let the adapter in this slot add this to the weight, or nothing. Not during a step."""

    @abstractmethod
    def begin_step(self, adapters: Sequence[AdapterRows]) -> None:
        """Set which rows of the next products have adapters: all products with T rows, until the
        next call. Each row is in at most one of them."""

    @abstractmethod
    def pack_embedding(self, table: Tensor, output: Weight | None) -> Weight:
        """For ``embed``. table: [vocab, H]; ``output`` is the packed output layer if it is the
        same matrix, so that a backend may keep it once."""

    @abstractmethod
    def embed(self, token_ids: Tensor, table: Weight) -> Tensor:
        """The residual stream's start, [T, H]. token_ids: [T] int64."""

    @abstractmethod
    def norm(self, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
        """RMS norm, [T, H] of dtype. weight: [H] float32."""

    @abstractmethod
    def layer_norm(
        self, residual: Tensor, weight: Tensor, bias: Tensor | None, eps: float
    ) -> Tensor:
        """LayerNorm, [T, H] of dtype. weight, bias: [H] float32."""

    @abstractmethod
    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        """x @ weight.T + bias: [T, N], float32 or dtype, perhaps a view of wider rows."""

    @abstractmethod
    def add_linear(self, x: Tensor, weight: Weight, residual: Tensor) -> None:
        """Add x @ weight.T + bias to the residual stream in place."""

    @abstractmethod
    def gated_linear(self, x: Tensor, weight: Weight) -> Tensor:
        """activation(x @ gate.T) * (x @ up.T): [T, N] of dtype."""

    @abstractmethod
    def add_experts(self, x: Tensor, routing: Routing, experts: Weight, residual: Tensor) -> None:
        """Add the weighted sum of each token's experts to the residual stream in place. An expert
        is down(gate(x @ gate.T, x @ up.T)); those that no token goes through are not read.

        x: [T, H].
        """

    @abstractmethod
    def activated_linear(self, x: Tensor, weight: Weight) -> Tensor:
        """activation(x @ weight.T + bias): [T, N] of dtype."""


def activate(x: Tensor, activation: Activation) -> Tensor:
    """The activation function by its name."""
    match activation:
        case "silu":
            return torch.nn.functional.silu(x)
        case "gelu":
            return torch.nn.functional.gelu(x)
        case "gelu_tanh":
            return torch.nn.functional.gelu(x, approximate="tanh")
        case "relu":
            return torch.nn.functional.relu(x)
        case "relu2":
            return torch.nn.functional.relu(x).square()
        case "quick_gelu":
            return x * torch.sigmoid(1.702 * x)
        case "sigmoid":
            return torch.sigmoid(x)
        case "clamped_swiglu":
            raise ValueError("clamped_swiglu is a function of a gate and its input")


def apply_gate(gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
    """activation(gate) * up, or clamped_swiglu."""
    if activation == "clamped_swiglu":
        return activate(gate.clamp(max=7.0), "quick_gelu") * (up.clamp(-7.0, 7.0) + 1.0)
    return activate(gate, activation) * up
