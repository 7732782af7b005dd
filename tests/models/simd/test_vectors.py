"""The vector operations agree with NumPy, lane for lane."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from headrace.models.simd import vectors
from headrace.models.simd.vectors import BF16, FP32


@njit
def exp_of(x, out):
    vectors.store(out, vectors.exp(vectors.load(x)))


@njit
def reduce(x):
    value = vectors.load(x)
    return vectors.sum_lanes(value), vectors.max_lanes(value)


@njit
def round_trip(tag, x, out):
    vectors.store_element(tag, out, vectors.load(x))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-86.0, 88.0, width=32), min_size=16, max_size=16))
def test_exp(values):
    x = np.array(values, np.float32)
    out = np.empty(16, np.float32)
    exp_of(x.ctypes.data, out.ctypes.data)
    want = np.exp(x.astype(np.float64))
    assert np.abs(out / want - 1.0).max() < 3e-7


@pytest.mark.parametrize("value", [-1e30, -88.0, -math.inf])
def test_exp_underflows_to_zero(value):
    x = np.full(16, value, np.float32)
    out = np.ones(16, np.float32)
    exp_of(x.ctypes.data, out.ctypes.data)
    assert (out == 0.0).all()


def test_reductions():
    x = np.arange(16, dtype=np.float32) - 20
    assert reduce(x.ctypes.data) == (float(x.sum()), -5.0)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=16, max_size=16)
)
def test_bfloat16_rounding_equals_pytorch(values):
    x = torch.tensor(values, dtype=torch.float32)
    out = torch.empty(16, dtype=torch.bfloat16)
    round_trip(BF16, x.data_ptr(), out.data_ptr())
    assert torch.equal(out, x.to(torch.bfloat16))


def test_float32_is_exact():
    x = torch.randn(16)
    out = torch.empty(16)
    round_trip(FP32, x.data_ptr(), out.data_ptr())
    assert torch.equal(out, x)
