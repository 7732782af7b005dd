"""The Triton kernels without a GPU: interpreted, and compiled for other devices."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CONTRACT = Path(__file__).with_name("test_attention_contract.py")
SMALL_CASES = "3of3x16 or 3of1x32 or 4of2x48 or 4of1x64 or decodes or former_owner or padding"

INT32, FLOAT = "*i32", "fp32"
ARGUMENTS = {
    **dict.fromkeys(["positions", "slots", "context_lens", "block_tables", "query_starts"], INT32),
    **dict.fromkeys(["qkv_stride", "table_stride", "num_splits", "num_seqs"], "i32"),
    **dict.fromkeys(["cos", "sin", "partial_outputs", "partial_logsums", "sinks"], "*fp32"),
    **dict.fromkeys(["query_weight", "key_weight"], "*fp32"),
    **dict.fromkeys(["qkv", "key_cache", "value_cache", "output"], "*bf16"),
    **dict.fromkeys(["eps", "score_scale"], FLOAT),
}
CONSTANTS: dict[str, Any] = {
    "NUM_HEADS": 9,
    "NUM_KV_HEADS": 3,
    "HEAD_DIM": 64,
    "BLOCK_SIZE": 16,
    "HAS_NORM": True,
    "ONE_QUERY_EACH": True,
    "TILE_HEADS": 8,
    "HALF_PADDED": 32,
    "HAS_SINKS": True,
    "HAS_WINDOW": True,
    "WINDOW": 100,
    "WHOLE": False,
    "TILE_ROWS": 64,
    "TILE_KEYS": 64,
    "DIM_PADDED": 64,
    "SOFTCAP": 20.0,
}


@pytest.mark.slow
def test_contract_holds_in_the_interpreter() -> None:
    """In a separate process: kernels are interpreted or compiled as of their import."""
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", str(CONTRACT), "-q", "-p", "no:cacheprovider"]
    finished = subprocess.run(
        [*command, "-k", f"interpreted and ({SMALL_CASES})"],
        # One thread: on a busy machine those of OpenMP spend their time waiting for each other.
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    assert " passed" in finished.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="kernels are interpreted")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    "kernel", ["norm_rotate_write", "attend_decode", "reduce_splits", "attend_prefill"]
)
def test_kernels_compile_for_other_gpus(kernel: str, capability: int) -> None:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from headrace.models.attention import paged_kernels

    function = getattr(paged_kernels, kernel)
    names = function.arg_names
    signature = {name: ARGUMENTS.get(name, "constexpr") for name in names}
    constants = {(names.index(name),): CONSTANTS[name] for name in names if name in CONSTANTS}
    source = ASTSource(function, signature, constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    # Of a block's shared memory, the smallest devices of sm_8x have 99 KiB.
    assert compiled.metadata.shared <= 99 * 1024
    assert "cubin" in compiled.asm
