"""An engine core in this process whose requests ask for vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.core.generation.pooling import PoolingParams
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.config import EngineConfig
from headrace.engine.messages import AddRequest, TokenOutput
from headrace.engine.startup import StartedCore, start_core
from headrace.models.sources.files import ModelFiles

Vector = npt.NDArray[np.float32]


def start(files: ModelFiles, **options: Any) -> StartedCore:
    defaults = {"dtype": "float32", "num_threads": 1, "kv_cache_memory": "4MiB"}
    return start_core(EngineConfig(model=files.name, **{**defaults, **options}), files, _ignore)


def run(
    started: StartedCore,
    prompts: Sequence[list[int]],
    params: PoolingParams | Sequence[PoolingParams] | None = None,
) -> list[TokenOutput]:
    """The last output of each prompt, all of which are added before the first step."""
    if not isinstance(params, Sequence):
        params = [params or PoolingParams()] * len(prompts)
    for index, (prompt, each) in enumerate(zip(prompts, params, strict=True)):
        sampling = SamplingParams(max_tokens=1)
        request = AddRequest(str(index), prompt, sampling, 0.0, 0, 0, "", pooling=each)
        started.core.add(request)
    ended: dict[str, TokenOutput] = {}
    while started.core.has_work:
        step = started.core.step()
        assert step is not None
        ended |= {output.request_id: output for output in step.outputs}
    return [ended[str(index)] for index in range(len(prompts))]


def vectors(
    started: StartedCore,
    prompts: Sequence[list[int]],
    params: PoolingParams | Sequence[PoolingParams] | None = None,
) -> list[Vector]:
    found = []
    for output in run(started, prompts, params):
        assert output.vector is not None, output.failure
        found.append(np.frombuffer(output.vector, "<f4"))
    return found


def _ignore(_: object) -> None:
    pass
