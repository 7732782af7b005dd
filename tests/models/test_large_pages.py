"""Tensors in large pages."""

import pytest
import torch

from headrace.models import large_pages


@pytest.mark.parametrize("shape", [(3,), (1 << 20, 3), (0, 5), (7, 300_001)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_copy_is_equal_and_independent(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = torch.randn(shape).to(dtype)
    copy = large_pages.place(tensor)
    assert copy.shape == tensor.shape
    assert copy.is_contiguous()
    assert torch.equal(copy, tensor)
    copy.zero_()
    assert not tensor.numel() or tensor.abs().max() > 0


def test_permuted_rows_are_made_contiguous() -> None:
    tensor = torch.arange(3_000_000.0).view(3, -1).T
    assert torch.equal(large_pages.place(tensor), tensor)


def test_large_allocations_are_aligned_to_large_pages() -> None:
    if not hasattr(__import__("mmap"), "MADV_HUGEPAGE"):
        pytest.skip("this system has no large pages to ask for")
    assert large_pages.empty((4 << 20,), torch.uint8).data_ptr() % (2 << 20) == 0
