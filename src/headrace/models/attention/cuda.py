"""Attention on a CUDA device: allocates the paged cache and launches the Triton kernels over it.

Nothing here waits for the device, and grids depend only on the batch's counts and
maxima, so a step may be captured into a CUDA graph and replayed on other contents.
"""

import math
from types import ModuleType

import torch
from torch import Tensor

from headrace.core.errors import CallOrderError, InvalidInputError, UnsupportedModelError
from headrace.models.attention.base import Attention, AttentionSpec, PagedBatch

_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_MAX_HEAD_DIM = 256
_MIN_SPLIT_LEN = 128
"""Tokens of context below which another program costs more than it saves."""
_MAX_NUM_SPLITS = 64
_PROGRAMS_PER_PROCESSOR = 4
"""Decode programs wanted on each multiprocessor, to hide the latency of its loads."""


class CudaAttention(Attention):
    """Paged attention in Triton: float16, bfloat16 and float32, head_dim up to 256.

    A sequence that has one query and an empty context is padding (a CUDA graph's spare rows):
    nothing is written for it, and its output is zero.
    """

    name = "triton"

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__(spec)
        _check(spec)
        self._kernels = _load_kernels()
        self._num_processors = _num_processors(spec.device)
        self._key_cache: Tensor | None = None
        """[num_layers, num_blocks, num_kv_heads, block_size, head_dim]."""
        self._value_cache: Tensor | None = None
        self._batch: PagedBatch | None = None

        dim_padded = max(16, _next_power_of_two(spec.head_dim))
        group = spec.num_heads // spec.num_kv_heads
        self._decode_rows = max(16, _next_power_of_two(group))
        # Tiles shrink as rows grow, to fit into the 99 KiB that small devices share in a block.
        row_bytes = dim_padded * spec.dtype.itemsize
        self._prefill_rows = max(64 if row_bytes <= 512 else 32, _next_power_of_two(group))
        self._constants: dict[str, int | float] = {
            "NUM_HEADS": spec.num_heads,
            "NUM_KV_HEADS": spec.num_kv_heads,
            "HEAD_DIM": spec.head_dim,
            "BLOCK_SIZE": spec.block_size,
            "DIM_PADDED": dim_padded,
            "TILE_KEYS": min(64, 16384 // row_bytes),
            "SOFTCAP": (spec.softcap or 0.0) * math.log2(math.e),
        }

    def allocate(self, num_blocks: int) -> None:
        spec = self.spec
        shape = (
            spec.num_layers, num_blocks, spec.num_kv_heads, spec.block_size, spec.head_dim,
        )  # fmt: skip
        self._key_cache = torch.empty(shape, dtype=spec.dtype, device=spec.device)
        self._value_cache = torch.empty(shape, dtype=spec.dtype, device=spec.device)

    def begin_step(self, batch: PagedBatch) -> None:
        self._batch = batch

    @property
    def positions(self) -> Tensor:
        if self._batch is None:
            raise CallOrderError("Call begin_step() first.")
        return self._batch.positions

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        cos: Tensor,
        sin: Tensor,
        qk_norm: tuple[Tensor, Tensor, float] | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        batch = self._batch
        if batch is None or self._key_cache is None or self._value_cache is None:
            raise CallOrderError("Call allocate() once and begin_step() before attend().")
        keys, values = self._key_cache[layer], self._value_cache[layer]
        self._norm_rotate_write(batch, qkv, keys, values, cos, sin, qk_norm)
        size = self.spec.num_heads * self.spec.head_dim
        output = keys.new_empty(batch.num_tokens, size)
        window = self.spec.windows[layer]
        if batch.max_query_len > 1:
            self._attend_prefill(batch, qkv, keys, values, output, window, sinks)
        if batch.max_query_len == 1 or batch.num_seqs > 1:
            self._attend_decode(batch, qkv, keys, values, output, window, sinks)
        return output

    def _norm_rotate_write(
        self,
        batch: PagedBatch,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        cos: Tensor,
        sin: Tensor,
        qk_norm: tuple[Tensor, Tensor, float] | None,
    ) -> None:
        spec = self.spec
        query_weight, key_weight, eps = qk_norm or (cos, cos, 0.0)  # not read without a norm
        num_heads = spec.num_heads + 2 * spec.num_kv_heads
        tile_heads = min(8, _next_power_of_two(num_heads))
        self._kernels.norm_rotate_write[batch.num_tokens, math.ceil(num_heads / tile_heads)](
            qkv, cos, sin, query_weight, key_weight, keys, values,
            batch.positions, batch.slots, batch.context_lens, qkv.stride(0), eps,
            NUM_HEADS=spec.num_heads,
            NUM_KV_HEADS=spec.num_kv_heads,
            HEAD_DIM=spec.head_dim,
            BLOCK_SIZE=spec.block_size,
            HAS_NORM=qk_norm is not None,
            ONE_QUERY_EACH=batch.max_query_len == 1,
            TILE_HEADS=tile_heads,
            HALF_PADDED=_next_power_of_two(spec.head_dim // 2),
        )  # fmt: skip

    def _attend_prefill(
        self,
        batch: PagedBatch,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        output: Tensor,
        window: int | None,
        sinks: Tensor | None,
    ) -> None:
        spec = self.spec
        tile_queries = self._prefill_rows // (spec.num_heads // spec.num_kv_heads)
        num_tiles = batch.num_tokens // tile_queries + batch.num_seqs
        self._kernels.attend_prefill[num_tiles, spec.num_kv_heads](
            qkv, keys, values, batch.block_tables, batch.query_starts, batch.context_lens, output,
            output if sinks is None else sinks,  # not read without sinks
            batch.num_seqs, qkv.stride(0), batch.block_tables.stride(0), _score_scale(spec),
            HAS_SINKS=sinks is not None,
            HAS_WINDOW=window is not None,
            WINDOW=window or 0,
            TILE_ROWS=self._prefill_rows,
            **self._constants,
        )  # fmt: skip

    def _attend_decode(
        self,
        batch: PagedBatch,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        output: Tensor,
        window: int | None,
        sinks: Tensor | None,
    ) -> None:
        """Sequences of one query; in a mixed step the others are passed over, on the device."""
        spec = self.spec
        max_visible = min(batch.max_context_len, window or batch.max_context_len)
        num_programs = batch.num_seqs * spec.num_kv_heads
        num_splits = choose_num_splits(num_programs, max_visible, self._num_processors)
        whole = num_splits == 1
        parts = (batch.num_seqs, spec.num_heads, num_splits)
        outputs = output if whole else output.new_empty(*parts, spec.head_dim, dtype=torch.float32)
        logsums = output if whole else output.new_empty(parts, dtype=torch.float32)
        self._kernels.attend_decode[batch.num_seqs, spec.num_kv_heads, num_splits](
            qkv, keys, values, batch.block_tables, batch.query_starts, batch.context_lens, output,
            outputs, logsums, output if sinks is None else sinks,
            num_splits, qkv.stride(0), batch.block_tables.stride(0), _score_scale(spec),
            HAS_SINKS=sinks is not None,
            HAS_WINDOW=window is not None,
            WINDOW=window or 0,
            WHOLE=whole,
            TILE_ROWS=self._decode_rows,
            **self._constants,
        )  # fmt: skip
        if whole:
            return
        self._kernels.reduce_splits[batch.num_seqs, spec.num_heads](
            outputs, logsums, batch.query_starts, output,
            output if sinks is None else sinks, num_splits,
            HAS_SINKS=sinks is not None,
            NUM_HEADS=spec.num_heads,
            HEAD_DIM=spec.head_dim,
            DIM_PADDED=self._constants["DIM_PADDED"],
        )  # fmt: skip


def choose_num_splits(num_programs: int, max_visible: int, num_processors: int) -> int:
    """Shares of the context, so that a few long sequences still fill the device."""
    to_fill_device = math.ceil(_PROGRAMS_PER_PROCESSOR * num_processors / num_programs)
    worth_splitting = math.ceil(max_visible / _MIN_SPLIT_LEN)
    return max(1, min(to_fill_device, worth_splitting, _MAX_NUM_SPLITS))


def _check(spec: AttentionSpec) -> None:
    if spec.dtype not in _DTYPES:
        raise UnsupportedModelError(
            f"Attention on CUDA computes in float16, bfloat16 or float32, not in {spec.dtype}. "
            "Choose one of them with --dtype."
        )
    if spec.head_dim > _MAX_HEAD_DIM:
        raise UnsupportedModelError(
            f"Attention on CUDA has heads of up to {_MAX_HEAD_DIM} dimensions; "
            f"this model's have {spec.head_dim}. Serve it with --device cpu."
        )


def _load_kernels() -> ModuleType:
    try:
        from headrace.models.attention import paged_kernels
    except ImportError as error:
        raise InvalidInputError(
            "Attention on CUDA needs Triton, which comes with the CUDA build of PyTorch, but it "
            f"cannot be imported ({error}). Install it (pip install triton), or serve with "
            "--device cpu."
        ) from error
    return paged_kernels


def _num_processors(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).multi_processor_count)
    return 8  # Triton's interpreter, on the CPU: enough that contexts are split


def _score_scale(spec: AttentionSpec) -> float:
    """To powers of two; where scores are capped, to the argument of tanh."""
    return spec.scale * math.log2(math.e) if spec.softcap is None else spec.scale / spec.softcap


def _next_power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
