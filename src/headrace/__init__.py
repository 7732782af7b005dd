"""Headrace serves language models: from a model file to production traffic.

The public names are loaded on first use, so that ``import headrace`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from headrace.version import __version__

if TYPE_CHECKING:
    from headrace.core.generation.outputs import CompletionOutput, RequestOutput
    from headrace.core.generation.sampling_params import SamplingParams
    from headrace.engine.adapters.lora_request import LoRARequest
    from headrace.engine.llm import LLM

__all__ = [
    "LLM",
    "CompletionOutput",
    "LoRARequest",
    "RequestOutput",
    "SamplingParams",
    "__version__",
]

_HOMES = {
    "LLM": "headrace.engine.llm",
    "LoRARequest": "headrace.engine.adapters.lora_request",
    "SamplingParams": "headrace.core.generation.sampling_params",
    "RequestOutput": "headrace.core.generation.outputs",
    "CompletionOutput": "headrace.core.generation.outputs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
