"""The kernels give the same results without AVX-512 and bfloat16 instructions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONTRACTS = [
    Path(__file__).with_name("test_matmul_tile.py"),
    Path(__file__).parents[1] / "ops" / "test_ops_contract.py",
    Path(__file__).parents[1] / "ops" / "test_experts.py",
    Path(__file__).parents[1] / "parts" / "test_moe.py",
    Path(__file__).parents[1] / "attention" / "test_attention_contract.py",
]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="names an x86 processor")
def test_contracts_hold_on_avx2() -> None:
    environ = {
        **os.environ,
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+sse4.2,+popcnt",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", "kernels or cpu or row"]
    done = subprocess.run(
        [*command, *map(str, CONTRACTS)], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
