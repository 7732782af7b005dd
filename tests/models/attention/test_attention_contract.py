"""What every attention backend must do, against a dense attention in float64 written out here.

The backend "interpreted" runs the Triton kernels on the CPU; it needs TRITON_INTERPRET=1 in the
environment before Triton is imported, so test_paged_kernels.py starts a process for it.
"""

import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from headrace.core.errors import UnsupportedModelError
from headrace.models.attention.base import Attention, AttentionSpec, PagedBatch
from headrace.models.attention.cuda import CudaAttention
from headrace.models.attention.reference import ReferenceAttention
from headrace.models.config import RopeConfig
from headrace.models.rope import rotary_tables

pytestmark = pytest.mark.filterwarnings(
    "ignore:TRITON_DEFAULT_FP_FUSION"
)  # a warning of Triton 3.9
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None
EPS = 1e-5
NEVER_READ = 2**30
"""A block id that is in no cache."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model's shapes."""

    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 64
    block_size: int = 16
    windows: tuple[int | None, ...] = (None,)
    qk_norm: bool = False
    score_scale: float | None = None
    softcap: float | None = None
    sinks: bool = False
    dtype: torch.dtype = torch.float32
    max_len: int = 90
    """Longest sequence; long ones are split in decode."""

    def __str__(self) -> str:
        window = "" if self.windows == (None,) else f"-windows{self.windows}".replace(" ", "")
        norm = "-norm" if self.qk_norm else ""
        norm += f"-scale{self.score_scale}" if self.score_scale else ""
        norm += f"-cap{self.softcap}" if self.softcap else ""
        norm += "-sinks" if self.sinks else ""
        dtype = str(self.dtype).removeprefix("torch.")
        heads = f"{self.num_heads}of{self.num_kv_heads}x{self.head_dim}"
        return f"{heads}-block{self.block_size}-{dtype}{window}{norm}-len{self.max_len}"


CASES = [
    Case(),
    Case(num_heads=3, num_kv_heads=3, head_dim=16, block_size=8),
    Case(num_heads=9, num_kv_heads=3, head_dim=64, block_size=16),
    Case(num_heads=8, num_kv_heads=2, head_dim=80, block_size=32, qk_norm=True),
    Case(num_heads=6, num_kv_heads=2, head_dim=128, block_size=16, qk_norm=True),
    Case(num_heads=4, num_kv_heads=4, head_dim=48, windows=(20, None)),
    Case(num_heads=4, num_kv_heads=1, head_dim=64, block_size=8, windows=(1, 33), qk_norm=True),
    Case(num_heads=3, num_kv_heads=1, head_dim=64, max_len=330),
    Case(num_heads=3, num_kv_heads=1, head_dim=32, windows=(270,), max_len=330),
    Case(num_heads=3, num_kv_heads=1, head_dim=32, score_scale=0.3, softcap=2.0, max_len=330),
    Case(head_dim=48, windows=(20, None), softcap=1.5),
    Case(num_heads=3, num_kv_heads=1, head_dim=32, sinks=True, max_len=330),
    Case(head_dim=48, windows=(20, None), sinks=True, softcap=2.5, score_scale=0.2),
    Case(dtype=torch.bfloat16),
    Case(dtype=torch.bfloat16, windows=(20,), sinks=True),
    Case(dtype=torch.bfloat16, score_scale=0.2, softcap=3.0),
    Case(num_heads=9, num_kv_heads=3, head_dim=64, dtype=torch.bfloat16, qk_norm=True),
    Case(num_heads=3, num_kv_heads=1, head_dim=80, dtype=torch.bfloat16, windows=(25,)),
]
HALF_CASES = [Case(dtype=torch.float16), Case(head_dim=80, dtype=torch.float16, qk_norm=True)]
WINDOW_CASES = [
    Case(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        windows=(1, 7, 31, 32, 33, 97, 129),
        dtype=dtype,
        max_len=300,
    )
    for num_heads, num_kv_heads, head_dim, dtype in [
        (2, 2, 24, torch.float32),
        (2, 2, 66, torch.bfloat16),
        (3, 1, 40, torch.float32),
        (3, 1, 120, torch.bfloat16),
    ]
]
"""Windows whose edges lie anywhere in a tile's columns and in a chunk, with heads that do not fill
their tiles."""

TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


@dataclass(frozen=True)
class Backend:
    """A backend's factory and the device of its tensors."""

    create: Callable[[AttentionSpec], Attention]
    device: str = "cpu"


def create_cpu(spec: AttentionSpec) -> Attention:
    pytest.importorskip("numba", exc_type=ImportError)
    from headrace.models.attention.cpu import CpuAttention

    try:
        return CpuAttention(spec)
    except UnsupportedModelError as error:
        pytest.skip(f"left to the reference: {error}")


BACKENDS = {
    "reference": Backend(ReferenceAttention),
    "cpu": Backend(create_cpu),
    "interpreted": Backend(CudaAttention),
    "cuda": Backend(CudaAttention, device="cuda"),
}
MARKS = {
    "interpreted": [pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")],
    "cuda": [
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in BACKENDS])
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_random_schedule(backend: Backend, case: Case) -> None:
    """Chunks and decodes mixed, permuted blocks, a shared prefix, several layers."""
    check_random_schedule(backend, case, seed=1)


@pytest.mark.parametrize("case", WINDOW_CASES, ids=str)
def test_windows_that_hide_whole_chunks_from_a_row(case: Case) -> None:
    """The CPU kernels walk the context in chunks, for several rows at once."""
    check_random_schedule(BACKENDS["cpu"], case, seed=9)


@pytest.mark.parametrize("case", WINDOW_CASES[2:], ids=str)
def test_a_row_on_a_cpu_is_equal_in_any_chunk(case: Case) -> None:
    def compute(chunks: list[int]) -> list[Tensor]:
        simulation = Simulation(BACKENDS["cpu"], case, lengths=[300], seed=0)
        steps = [simulation.step([(0, count)]) for count in chunks]
        return [torch.cat(outputs) for outputs in zip(*steps, strict=True)]

    whole = compute([300])
    for chunks in ([1, 127, 1, 1, 6, 164], [150, 150], [290, *[1] * 10]):
        for layer, output in enumerate(compute(chunks)):
            assert torch.equal(output, whole[layer])


@pytest.mark.parametrize("case", HALF_CASES, ids=str)
def test_random_schedule_in_half_precision(backend: Backend, case: Case) -> None:
    check_random_schedule(backend, case, seed=2)


@pytest.mark.parametrize("seed", range(3, 8))
def test_more_schedules(backend: Backend, seed: int) -> None:
    check_random_schedule(backend, Case(num_heads=3, num_kv_heads=1, head_dim=16), seed)


def test_decodes_only(backend: Backend) -> None:
    """One query per sequence: the step that CUDA graphs replay."""
    simulation = Simulation(backend, Case(), lengths=[40, 17, 33], seed=0)
    simulation.step([(0, 38), (1, 15), (2, 31)])
    simulation.step([(0, 1), (1, 1), (2, 1)])
    simulation.step([(2, 1), (0, 1), (1, 1)])


def test_context_ends_at_a_block_boundary(backend: Backend) -> None:
    simulation = Simulation(backend, Case(block_size=8), lengths=[17], seed=0)
    simulation.step([(0, 8)])
    simulation.step([(0, 8)])
    simulation.step([(0, 1)])


def test_empty_contexts_are_padding_on_cuda(backend: Backend) -> None:
    """Rows [2, 4) of a graph of four: they write nothing, although their slots are valid."""
    if backend.create is not CudaAttention:
        pytest.skip("only CUDA graphs have spare rows")
    simulation = Simulation(backend, Case(), lengths=[20, 9], seed=0)
    simulation.step([(0, 18), (1, 7)])
    simulation.num_padding_rows = 2
    simulation.step([(0, 1), (1, 1)])
    simulation.step([(0, 1), (1, 1)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_float32_rows_of_wider_tensors_are_accepted(backend: Backend, dtype: torch.dtype) -> None:
    simulation = Simulation(backend, Case(dtype=dtype, qk_norm=True), lengths=[40, 21], seed=0)
    simulation.give_wide_float32 = True
    simulation.step([(0, 37), (1, 20)])
    simulation.step([(0, 1), (1, 1)])


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")  # numpy, when interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_stale_block_contents_do_not_affect_results(backend: Backend, dtype: torch.dtype) -> None:
    """Not even NaN: one request's overflow must not affect another."""
    simulation = Simulation(backend, Case(dtype=dtype), lengths=[50, 21], seed=0)
    simulation.fill_cache_with_nan()
    simulation.step([(0, 47), (1, 20)])
    simulation.step([(0, 1), (1, 1)])
    simulation.step([(0, 2)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_cpu_kernels_refuse_rows_of_other_shapes(dtype: torch.dtype) -> None:
    simulation = Simulation(BACKENDS["cpu"], Case(dtype=dtype), lengths=[20], seed=0)
    simulation.step([(0, 17)])
    simulation.attention.begin_step(simulation._batch([(0, 17, 18)]))
    size, cos = simulation.spec.qkv_size, simulation.cos
    for rows, table in [
        (torch.ones(1, size - 1, dtype=dtype), cos),
        (torch.ones(2, size, dtype=dtype), cos),
        (torch.ones(0, size, dtype=dtype), cos),
        (torch.ones(size, 1, dtype=dtype).T[:, ::2], cos),
        (torch.ones(1, size, dtype=dtype), cos[:, :-1]),
    ]:
        with pytest.raises(ValueError, match="qkv must be"):
            simulation.attention.attend(0, rows, table, table)
    simulation.step([(0, 1)])


def check_random_schedule(backend: Backend, case: Case, seed: int) -> None:
    """Three sequences, the last of which begins with blocks of the first, in random chunks."""
    draw = random.Random(seed)
    lengths = [draw.randint(case.max_len // 2, case.max_len) for _ in range(3)]
    num_shared_blocks = lengths[0] // case.block_size // 2
    simulation = Simulation(backend, case, lengths, seed, num_shared_blocks)
    first_chunk = max(num_shared_blocks * case.block_size, 1)
    simulation.step([(0, first_chunk), (1, lengths[1] // 2)])
    num_left = {s: lengths[s] - simulation.num_computed[s] for s in range(3)}
    while num_left:
        step = []
        for seq in draw.sample(sorted(num_left), k=draw.randint(1, len(num_left))):
            # Few steps, of each kind: a decode, a chunk, all the rest.
            chunk = draw.choice([1, max(1, num_left[seq] // 3), num_left[seq]])
            step.append((seq, chunk))
            num_left[seq] -= chunk
            if not num_left[seq]:
                del num_left[seq]
        simulation.step(step)


class Simulation:
    """Sequences with given tokens, computed step by step by a backend and checked."""

    def __init__(
        self,
        backend: Backend,
        case: Case,
        lengths: list[int],
        seed: int,
        num_shared_blocks: int = 0,
    ) -> None:
        """The last sequence has the first one's first ``num_shared_blocks`` blocks."""
        if backend.create is CudaAttention and INTERPRETED and case.dtype == torch.bfloat16:
            pytest.skip("Triton's interpreter multiplies bfloat16 as if it were integers")
        self.case = case
        self.give_wide_float32 = False
        """Whether queries, keys and values are float32, in rows wider than necessary."""
        self.num_padding_rows = 0
        """Sequences with an empty context at the end of each step."""
        self.device = torch.device(backend.device)
        self.generator = torch.Generator().manual_seed(seed)
        self.spec = AttentionSpec(
            num_layers=len(case.windows),
            num_heads=case.num_heads,
            num_kv_heads=case.num_kv_heads,
            head_dim=case.head_dim,
            block_size=case.block_size,
            dtype=case.dtype,
            device=self.device,
            windows=case.windows,
            score_scale=case.score_scale,
            softcap=case.softcap,
        )
        num_blocks = [math.ceil(length / case.block_size) for length in lengths]
        self.num_blocks = sum(num_blocks) + 3
        self.attention = backend.create(self.spec)
        self.attention.allocate(self.num_blocks)

        free = torch.randperm(self.num_blocks, generator=self.generator).tolist()
        self.blocks = [[free.pop() for _ in range(count)] for count in num_blocks]
        self.num_computed = [0] * len(lengths)
        self.qkv = [
            [self._normal(length, self.spec.qkv_size) for length in lengths] for _ in case.windows
        ]  # [layer][sequence]
        num_shared = num_shared_blocks * case.block_size
        if num_shared:
            self.blocks[-1][:num_shared_blocks] = self.blocks[0][:num_shared_blocks]
            self.num_computed[-1] = num_shared
            for layer in self.qkv:
                layer[-1][:num_shared] = layer[0][:num_shared]

        tables = rotary_tables(RopeConfig(), case.head_dim, max(lengths))
        self.cos, self.sin = tables.cos, tables.sin
        self.norm_weights = [self._normal(case.head_dim).float() for _ in range(2)]
        self.sinks = 2 * self._normal(case.num_heads).float() if case.sinks else None
        self.expected = [
            [self._dense(qkv, window) for qkv in layer]
            for layer, window in zip(self.qkv, case.windows, strict=True)
        ]

    def step(self, scheduled: list[tuple[int, int]]) -> list[Tensor]:
        """Compute the next tokens of some sequences in every layer: (sequence, how many). Returns
        each layer's output.

        Where all layers have a window, the blocks before it are not in the block tables.
        """
        self._forget_hidden_blocks()
        ranges, outputs = [], []
        for seq, count in scheduled:
            ranges.append((seq, self.num_computed[seq], self.num_computed[seq] + count))
            self.num_computed[seq] += count
        self.attention.begin_step(self._batch(ranges))
        for layer, qkv in enumerate(self.qkv):
            rows = torch.cat([qkv[seq][start:end] for seq, start, end in ranges])
            padding = torch.ones(self.num_padding_rows, self.spec.qkv_size, dtype=rows.dtype)
            output = self._attend(layer, torch.cat([rows, padding]))
            expected = torch.cat([self.expected[layer][seq][a:b] for seq, a, b in ranges])
            expected = torch.cat([expected, expected.new_zeros(len(padding), output.shape[1])])
            assert output.dtype == self.case.dtype
            assert output.shape == expected.shape
            tolerance = TOLERANCE[self.case.dtype]
            torch.testing.assert_close(
                output.cpu().double(), expected, atol=tolerance, rtol=tolerance
            )
            outputs.append(output.clone())
        return outputs

    def _forget_hidden_blocks(self) -> None:
        windows = [window for window in self.case.windows if window is not None]
        if len(windows) < len(self.case.windows):
            return
        for blocks, num_computed in zip(self.blocks, self.num_computed, strict=True):
            num_hidden = max(0, num_computed + 1 - max(windows)) // self.case.block_size
            blocks[:num_hidden] = [NEVER_READ] * num_hidden

    def fill_cache_with_nan(self) -> None:
        num_slots = self.num_blocks * self.case.block_size
        batch = self._paged_batch(
            query_lens=[num_slots],
            context_lens=[num_slots],
            tables=[list(range(self.num_blocks))],
            positions=[slot % len(self.cos) for slot in range(num_slots)],
            slots=list(range(num_slots)),
        )
        for layer in range(self.spec.num_layers):
            self.attention.begin_step(batch)
            rows = torch.full((num_slots, self.spec.qkv_size), math.nan, dtype=self.case.dtype)
            self._attend(layer, rows)

    def _attend(self, layer: int, rows: Tensor) -> Tensor:
        query_weight, key_weight = (weight.to(self.device) for weight in self.norm_weights)
        rows = rows.clone().to(self.device)
        if self.give_wide_float32:
            rows = torch.nn.functional.pad(rows.float(), (0, 24))[:, : self.spec.qkv_size]
        return self.attention.attend(
            layer,
            rows,
            self.cos.to(self.device),
            self.sin.to(self.device),
            (query_weight, key_weight, EPS) if self.case.qk_norm else None,
            None if self.sinks is None else self.sinks.to(self.device),
        )

    def _batch(self, ranges: list[tuple[int, int, int]]) -> PagedBatch:
        size, num_padding = self.case.block_size, self.num_padding_rows
        tokens = [(seq, p) for seq, start, end in ranges for p in range(start, end)]
        slots = [self.blocks[seq][p // size] * size + p % size for seq, p in tokens]
        tables = [self.blocks[seq][: math.ceil(end / size)] for seq, _, end in ranges]
        return self._paged_batch(
            query_lens=[end - start for _, start, end in ranges] + [1] * num_padding,
            context_lens=[end for _, _, end in ranges] + [0] * num_padding,
            tables=tables + [[] for _ in range(num_padding)],
            positions=[p for _, p in tokens] + [0] * num_padding,
            slots=slots + [self.blocks[0][0] * size] * num_padding,
        )

    def _paged_batch(
        self,
        query_lens: list[int],
        context_lens: list[int],
        tables: list[list[int]],
        positions: list[int],
        slots: list[int],
    ) -> PagedBatch:
        max_blocks = max(map(len, tables)) + 1
        return PagedBatch(
            query_starts=self._int32([sum(query_lens[:s]) for s in range(len(query_lens) + 1)]),
            context_lens=self._int32(context_lens),
            block_tables=self._int32(
                [table + [NEVER_READ] * (max_blocks - len(table)) for table in tables]
            ),
            positions=self._int32(positions),
            slots=self._int32(slots),
            num_seqs=len(query_lens),
            num_tokens=len(positions),
            max_query_len=max(query_lens),
            max_context_len=max(context_lens),
        )

    def _int32(self, values: list[int] | list[list[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.int32, device=self.device)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator).to(self.case.dtype)

    def _dense(self, qkv: Tensor, window: int | None) -> Tensor:
        """A full sequence at once, in float64: [length, num_heads * head_dim]."""
        case, length = self.case, len(qkv)
        heads = qkv.double().view(length, -1, case.head_dim).transpose(0, 1)
        query = heads[: case.num_heads]  # [num_heads, length, head_dim]
        key = heads[case.num_heads : case.num_heads + case.num_kv_heads]
        value = heads[case.num_heads + case.num_kv_heads :]
        if case.qk_norm:
            query = rms_norm(query) * self.norm_weights[0].double()
            key = rms_norm(key) * self.norm_weights[1].double()
        angles = torch.complex(self.cos.double(), self.sin.double())[:length]
        query, key = rotate(query, angles), rotate(key, angles)

        group = case.num_heads // case.num_kv_heads
        key, value = key.repeat_interleave(group, 0), value.repeat_interleave(group, 0)
        scores = query @ key.transpose(1, 2)
        scores = scores * (case.score_scale or 1 / math.sqrt(case.head_dim))
        if case.softcap is not None:
            scores = case.softcap * torch.tanh(scores / case.softcap)
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
        if window is not None:
            hidden |= torch.ones(length, length, dtype=torch.bool).tril(-window)
        scores = scores.masked_fill(hidden, -math.inf)
        if self.sinks is not None:
            column = self.sinks.double()[:, None, None].expand(-1, length, 1)
            scores = torch.cat([scores, column], dim=-1)
        weights = scores.softmax(-1)[..., :length]
        return (weights @ value).transpose(0, 1).reshape(length, -1)


def rms_norm(heads: Tensor) -> Tensor:
    return heads / (heads.square().mean(-1, keepdim=True) + EPS).sqrt()


def rotate(heads: Tensor, angles: Tensor) -> Tensor:
    """Each pair (x[i], x[i + half]) is one complex number; angles: [length, head_dim / 2]."""
    first, second = heads.chunk(2, dim=-1)
    turned = torch.complex(first, second) * angles
    return torch.cat([turned.real, turned.imag], dim=-1)
