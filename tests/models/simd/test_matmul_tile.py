"""The product of one tile, called as kernels call it."""

from itertools import product

import pytest
import torch
from torch import Tensor

from headrace.models.simd.matmul_tile import MAX_ROWS, multiply_tile
from headrace.models.simd.vectors import BF16, FP32, Element

TAGS = {torch.float32: FP32, torch.bfloat16: BF16}
UNTOUCHED = 7.0


def multiply(x: Tensor, w: Tensor, c: Tensor, num_rows: int, *, accumulate: bool) -> None:
    """x: [rows, K], w: [K, 32], c: [rows, 32] float32."""
    group = 4 // x.element_size()
    packed = w.view(-1, group, 32).transpose(1, 2).contiguous()  # [K / g, 32, g]
    tag: Element = TAGS[x.dtype]
    multiply_tile(
        tag,
        num_rows,
        accumulate,
        x.data_ptr(),
        x.stride(0) * x.element_size(),
        packed.data_ptr(),
        packed.data_ptr() + 64,
        128,
        len(packed),
        c.data_ptr(),
        c.stride(0) * 4,
    )


@pytest.mark.parametrize("dtype", TAGS, ids=str)
@pytest.mark.parametrize("num_k", [2, 34])
def test_every_number_of_rows(dtype: torch.dtype, num_k: int) -> None:
    generator = torch.Generator().manual_seed(num_k)
    x = torch.randn(MAX_ROWS + 1, num_k, generator=generator).to(dtype)
    w = torch.randn(num_k, 32, generator=generator).to(dtype)
    for num_rows, accumulate in product(range(1, MAX_ROWS + 1), (False, True)):
        c = torch.full((MAX_ROWS + 1, 48), UNTOUCHED)
        multiply(x, w, c, num_rows, accumulate=accumulate)
        want = x[:num_rows].double() @ w.double() + UNTOUCHED * accumulate
        torch.testing.assert_close(c[:num_rows, :32].double(), want, atol=1e-4, rtol=1e-4)
        assert (c[num_rows:] == UNTOUCHED).all()
        assert (c[:, 32:] == UNTOUCHED).all()


@pytest.mark.parametrize("num_rows", [0, MAX_ROWS + 1, -1, 1 << 40])
@pytest.mark.parametrize("dtype", TAGS, ids=str)
def test_other_numbers_of_rows_are_refused(dtype: torch.dtype, num_rows: int) -> None:
    x, w = torch.ones(MAX_ROWS + 1, 2, dtype=dtype), torch.ones(2, 32, dtype=dtype)
    c = torch.full((MAX_ROWS + 1, 32), UNTOUCHED)
    with pytest.raises(ValueError, match="1 to 8 rows"):
        multiply(x, w, c, num_rows, accumulate=False)
    assert (c == UNTOUCHED).all()
