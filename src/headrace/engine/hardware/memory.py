"""Fits weights and KV cache into memory: pure functions of byte counts, but for
``free_cpu_memory``."""

import re
from dataclasses import dataclass

import psutil

from headrace.core.errors import InvalidParameterError, MemoryFitError
from headrace.engine.hardware import cgroups
from headrace.kvcache.sliding_window import SlidingWindow, num_request_blocks

CPU_KV_CACHE_SHARE = 0.5
"""Fraction of the memory that is free after loading the weights. The rest is for the page cache and
other processes. The cache's pages are touched over time, so all of it counts as used."""

MIN_CONTEXT_TOKENS = 16
"""With a shorter context, startup fails."""

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_DECIMAL_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)


@dataclass(frozen=True)
class KVCacheFit:
    """The sizes that fit, with their reasons."""

    num_blocks: int
    max_model_len: int
    num_blocks_why: str
    max_model_len_why: str


def fit_kv_cache(
    *,
    free_bytes: int,
    reserve_bytes: int,
    block_bytes: int,
    block_size: int,
    max_model_len_wanted: int,
    max_num_seqs: int | None,
    requested_bytes: int | None,
    share: float = 1.0,
    window: SlidingWindow | None = None,
    num_models: int = 1,
) -> KVCacheFit:
    """The number of blocks, and the longest request that they can hold.

    free_bytes: free memory after the weights are loaded. reserve_bytes: reserved for activations.
    max_num_seqs: limits the cache to this many requests of full length; None: no limit.
    requested_bytes: the configured size, if any. share: fraction of the free memory to use.
    window: of all layers; a request then needs few blocks, however long it is.
    num_models: models that this fraction is divided among.
    Raises MemoryFitError when the shortest useful request does not fit.
    """
    usable = max(0, free_bytes - reserve_bytes)
    if requested_bytes is not None:
        if requested_bytes > usable:
            raise MemoryFitError(
                f"--kv-cache-memory asks for {format_bytes(requested_bytes)}, but only "
                f"{format_bytes(usable)} are free besides weights and activations. "
                "Ask for less, or free memory on this machine."
            )
        budget, why = requested_bytes, "set by --kv-cache-memory"
    else:
        budget = int(usable * share / num_models)
        taken = "all" if share == 1.0 else f"{share:.0%}"
        why = f"{taken} of {format_bytes(usable)} free besides weights and activations"
        if num_models > 1:
            why += f", divided by --max-loaded {num_models}"

    num_blocks = budget // block_bytes
    request_blocks = num_request_blocks(max_model_len_wanted, block_size, window)
    if requested_bytes is None and max_num_seqs is not None:
        needed = max_num_seqs * request_blocks
        if needed <= num_blocks:
            num_blocks, why = needed, f"{max_num_seqs} requests of full length"

    num_tokens = num_blocks * block_size
    if num_blocks < request_blocks and num_tokens < MIN_CONTEXT_TOKENS:
        raise MemoryFitError(
            f"Not enough memory for the KV cache: {format_bytes(budget)} may be used, and the "
            f"shortest useful one needs {format_bytes(_min_blocks(block_size) * block_bytes)}. "
            "Free memory on this machine, lower --max-num-batched-tokens, raise --kv-cache-memory "
            "(CPU) or --gpu-memory-utilization (CUDA), or use a smaller model."
        )
    if num_blocks >= request_blocks:
        if window is not None and request_blocks * block_size < max_model_len_wanted:
            why += f"; layers see {window.size} tokens, so a request needs {request_blocks} blocks"
        return KVCacheFit(num_blocks, max_model_len_wanted, why, "")
    return KVCacheFit(
        num_blocks,
        num_tokens,
        why,
        f"lowered from {max_model_len_wanted}: the KV cache holds {num_tokens} tokens "
        f"({format_bytes(budget)} at {format_bytes(block_bytes // block_size)} a token)",
    )


def check_weights_fit(num_parameters: int, bytes_per_parameter: int, free_bytes: int) -> int:
    """The size of the weights in bytes; raises MemoryFitError if they do not fit."""
    weight_bytes = num_parameters * bytes_per_parameter
    if weight_bytes <= free_bytes:
        return weight_bytes
    raise MemoryFitError(
        f"The weights need {format_bytes(weight_bytes)} ({format_count(num_parameters)} "
        f"parameters of {bytes_per_parameter} bytes), but only {format_bytes(free_bytes)} are "
        "free. Free memory on this machine, choose a narrower --dtype or a smaller model."
    )


def free_cpu_memory() -> int:
    """Bytes that this process may still allocate without swapping or an out-of-memory kill."""
    available = int(psutil.virtual_memory().available)
    allowed = cgroups.free_memory()
    return available if allowed is None else min(available, allowed)


def parse_memory_size(text: str, param: str = "kv_cache_memory") -> int:
    """Bytes of "4GiB" (binary), "2g" (binary too), "500MB" (decimal) or "1048576"."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidParameterError(
            param, f"{text!r} is not a memory size; write it like 4GiB, 500MB, 2g or 1073741824"
        )
    number, unit, suffix = match.groups()
    units = _DECIMAL_UNITS if (suffix or "").lower() == "b" else _UNITS
    size = int(float(number) * units[unit.lower()])
    if size == 0:
        raise InvalidParameterError(param, "must be more than 0 bytes")
    return size


def format_bytes(num_bytes: int) -> str:
    """A byte count in binary units, such as 1.50 GiB."""
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def format_count(count: int) -> str:
    """A count with a unit letter, such as 134.5M."""
    for limit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= limit:
            return f"{count / limit:.1f}{letter}"
    return str(count)


def _min_blocks(block_size: int) -> int:
    return -(-MIN_CONTEXT_TOKENS // block_size)
