"""The choice of a backend, and errors without one."""

import sys
from dataclasses import replace

import pytest
import torch

from headrace.core.errors import InvalidInputError, UnsupportedModelError
from headrace.models.attention.base import AttentionSpec
from headrace.models.attention.cuda import CudaAttention, choose_num_splits
from headrace.models.attention.factory import create_attention
from headrace.models.attention.reference import ReferenceAttention

SPEC = AttentionSpec(
    num_layers=1,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    block_size=16,
    dtype=torch.float32,
    device=torch.device("cpu"),
    windows=(None,),
)


def test_cpu_uses_its_kernels() -> None:
    pytest.importorskip("numba", exc_type=ImportError)
    attention = create_attention(SPEC)
    assert not isinstance(attention, ReferenceAttention)
    assert attention.name


def test_reference_is_used_for_shapes_without_cpu_kernels() -> None:
    attention = create_attention(replace(SPEC, dtype=torch.float16))
    assert isinstance(attention, ReferenceAttention)
    assert attention.name == "torch"


def test_reference_is_used_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert isinstance(create_attention(SPEC), ReferenceAttention)


def test_other_devices_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="meta"):
        create_attention(replace(SPEC, device=torch.device("meta")))


def test_cuda_without_triton_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = "headrace.models.attention.paged_kernels"
    monkeypatch.delitem(sys.modules, kernels, raising=False)
    if package := sys.modules.get("headrace.models.attention"):
        monkeypatch.delattr(package, "paged_kernels", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(InvalidInputError, match="triton"):
        create_attention(replace(SPEC, device=torch.device("cuda")))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [(replace(SPEC, dtype=torch.float64), "float64"), (replace(SPEC, head_dim=512), "512")],
)
def test_cuda_refuses_unsupported_shapes(spec: AttentionSpec, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        CudaAttention(spec)


def test_contexts_are_split_only_to_occupy_the_device() -> None:
    assert choose_num_splits(num_programs=2, max_visible=100, num_processors=100) == 1
    assert choose_num_splits(num_programs=2, max_visible=1000, num_processors=100) == 8
    assert choose_num_splits(num_programs=40, max_visible=100_000, num_processors=100) == 10
    assert choose_num_splits(num_programs=1, max_visible=100_000, num_processors=100) == 64
    assert choose_num_splits(num_programs=9000, max_visible=100_000, num_processors=100) == 1
