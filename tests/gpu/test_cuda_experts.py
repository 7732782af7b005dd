"""Products with experts on a CUDA device: against the CPU's, and replayed from a graph."""

import pytest
import torch

from headrace.models.ops.base import ExpertMatrices, Routing, Weight
from headrace.models.ops.torch_ops import TorchOps

DEVICE, CPU = torch.device("cuda"), torch.device("cpu")
NUM_EXPERTS, HIDDEN, INNER = 6, 32, 48


def pack(ops: TorchOps) -> Weight:
    generator = torch.Generator().manual_seed(0)
    experts = [
        ExpertMatrices(
            *(
                torch.randn(shape, generator=generator) / 4
                for shape in [(INNER, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)]
            )
        )
        for _ in range(NUM_EXPERTS)
    ]
    return ops.pack_experts(experts, NUM_EXPERTS, "silu")


def routing_of(scores: torch.Tensor) -> Routing:
    experts = scores.topk(2).indices.sort().values
    return Routing(experts, scores.softmax(-1).gather(1, experts))


@torch.inference_mode()
@pytest.mark.parametrize("num_tokens", [1, 2, 5])
def test_a_graph_replays_the_experts_of_another_step(num_tokens: int) -> None:
    """A few tokens, whose own experts are computed, and more, for which all are."""
    ops, reference = TorchOps(torch.float32, DEVICE), TorchOps(torch.float32, CPU)
    packed, expected_experts = pack(ops), pack(reference)
    x = torch.zeros(num_tokens, HIDDEN, device=DEVICE)
    scores = torch.rand(num_tokens, NUM_EXPERTS, device=DEVICE)
    residual = torch.zeros(num_tokens, HIDDEN, device=DEVICE)
    ops.add_experts(x, routing_of(scores), packed, residual)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ops.add_experts(x, routing_of(scores), packed, residual)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(num_tokens, HIDDEN, generator=generator)
        drawn = torch.rand(num_tokens, NUM_EXPERTS, generator=generator)
        expected = torch.zeros(num_tokens, HIDDEN)
        reference.add_experts(rows, routing_of(drawn), expected_experts, expected)
        eager = torch.zeros(num_tokens, HIDDEN, device=DEVICE)
        ops.add_experts(rows.to(DEVICE), routing_of(drawn.to(DEVICE)), packed, eager)
        x.copy_(rows)
        scores.copy_(drawn)
        residual.zero_()
        graph.replay()
        torch.testing.assert_close(residual.cpu(), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(eager.cpu(), expected, atol=1e-4, rtol=1e-4)
