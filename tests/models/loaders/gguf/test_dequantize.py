"""Own dequantization against that of the gguf package, bit for bit."""

import gguf
import numpy as np
import pytest
import torch

from headrace.core.errors import UnsupportedModelError
from headrace.models.loaders.gguf import dequantize as module
from headrace.models.loaders.gguf.dequantize import BLOCK_TYPES, dequantize, readable_types

ROWS, COLUMNS = 6, 512
SCALES_AT = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "MXFP4": [],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
"""The bytes of a block where its float16 scales begin; all others are arbitrary."""


def random_blocks(type_name: str, num_blocks: int) -> np.ndarray:
    random = np.random.default_rng(0)
    blocks = random.integers(256, size=(num_blocks, BLOCK_TYPES[type_name].num_bytes), dtype="u1")
    for start in SCALES_AT[type_name]:
        scales = random.normal(size=(num_blocks, 1)).astype(np.float16)
        blocks[:, start : start + 2] = scales.view(np.uint8)
    return blocks


@pytest.mark.parametrize("chunk", [1, 1 << 15])
@pytest.mark.parametrize("type_name", BLOCK_TYPES)
def test_blocks_equal_the_gguf_packages(
    type_name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", chunk)
    block_size = BLOCK_TYPES[type_name].size
    raw = random_blocks(type_name, ROWS * COLUMNS // block_size)
    kind = gguf.GGMLQuantizationType[type_name]
    with np.errstate(over="ignore"):  # the largest scale of MXFP4
        expected = torch.from_numpy(gguf.quants.dequantize(raw.reshape(ROWS, -1), kind))
    data = torch.from_numpy(raw.reshape(-1))
    ours = dequantize(data, type_name, (ROWS, COLUMNS), torch.float32, "w")
    assert torch.equal(ours, expected)
    half = dequantize(data, type_name, (ROWS, COLUMNS), torch.bfloat16, "w")
    assert torch.equal(half, expected.bfloat16())


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_unquantized_types_at_any_alignment(dtype: torch.dtype, shift: int) -> None:
    weights = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    raw = weights.view(-1).view(torch.uint8)
    data = torch.zeros(len(raw) + shift, dtype=torch.uint8)
    data[shift:] = raw
    name = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    ours = dequantize(data[shift:], name, (3, 8), torch.float32, "w")
    assert torch.equal(ours, weights.float())
    same = dequantize(data[shift:], name, (3, 8), dtype, "w")
    assert same.data_ptr() != data[shift:].data_ptr()


def test_unsupported_types_are_named() -> None:
    data = torch.zeros(0, dtype=torch.uint8)
    with pytest.raises(UnsupportedModelError, match=r"'blk\.0\.up'.*IQ2_XS") as caught:
        dequantize(data, "IQ2_XS", (1, 256), torch.float32, "blk.0.up")
    assert all(name in str(caught.value) for name in readable_types())
