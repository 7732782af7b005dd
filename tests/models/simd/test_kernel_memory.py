"""Kernels use working memory on the stack, not on the heap.

Numba frees an array as soon as nothing names it any more. A kernel that went on with an array's
address would write into memory that another thread has been given.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from numba.core.runtime import _nrt_python, rtsys

from headrace import LLM, SamplingParams
from headrace.testing.models.tiny_models import write_tiny_model


@pytest.fixture
def allocation_stats() -> Iterator[None]:
    was_enabled = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    yield
    if not was_enabled:
        _nrt_python.memsys_disable_stats()


@pytest.mark.usefixtures("allocation_stats")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_step_allocates_nothing(
    tmp_path: Path, dtype: Literal["float32", "bfloat16"], num_threads: int
) -> None:
    model = write_tiny_model(tmp_path / "tiny", max_position=256)
    llm = LLM(str(model.path), dtype=dtype, num_threads=num_threads, kv_cache_memory="16MiB")
    params = SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True)
    prompts: list[Any] = [list(range(5, 5 + length)) for length in (1, 30, 70)]
    llm.generate(prompts, params, use_tqdm=False)  # compiles the kernels, or loads them

    before = rtsys.get_allocation_stats()
    outputs = llm.generate(prompts, params, use_tqdm=False)

    assert all(len(output.outputs[0].token_ids) == 8 for output in outputs)
    assert rtsys.get_allocation_stats() == before
