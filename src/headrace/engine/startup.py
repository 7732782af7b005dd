"""Starts an engine core from its options and a model's files.

Times each phase and records the reason of each setting. Torch is imported in the first phase, not
with this module, because that takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headrace.core.clock import Clock, MonotonicClock
from headrace.core.errors import InvalidParameterError, ModelError
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.adapters.adapter_loader import AdapterLoader
from headrace.engine.adapters.support import check_adapters
from headrace.engine.config import EngineConfig
from headrace.engine.engine_core import EngineCore
from headrace.engine.grammar.compiler import GrammarCompiler
from headrace.engine.grammar.constraints import GrammarConstraints
from headrace.engine.hardware.cpus import choose_num_threads
from headrace.engine.hardware.memory import (
    CPU_KV_CACHE_SHARE,
    KVCacheFit,
    check_weights_fit,
    fit_kv_cache,
    format_bytes,
    format_count,
    free_cpu_memory,
    parse_memory_size,
)
from headrace.engine.messages import CoreReady
from headrace.engine.phase_timer import PhaseTimer, Report
from headrace.engine.pooling.task import PoolingPlan, plan_pooling
from headrace.engine.tokenization.tokenizer import load_tokenizer
from headrace.kvcache.manager import KVCacheManager
from headrace.kvcache.sliding_window import SlidingWindow
from headrace.models.sources.files import ModelFiles
from headrace.scheduler.scheduler import Scheduler, SchedulerConfig

if TYPE_CHECKING:
    import torch

    from headrace.engine.execution.model_runner import ModelRunner
    from headrace.engine.hardware.devices import DeviceChoice, DTypeChoice
    from headrace.models.loaders.checkpoint import Checkpoint

_RECOMMENDED = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
"""Sampling parameters that a model's files may recommend."""


@dataclass(frozen=True)
class StartedCore:
    """A core that accepts requests, and the message that describes it."""

    core: EngineCore
    ready: CoreReady


@dataclass(frozen=True)
class Setting:
    """One row of the startup table."""

    name: str
    value: str
    why: str


def start_core(
    config: EngineConfig, files: ModelFiles, report: Report, clock: Clock | None = None
) -> StartedCore:
    """Load the model, fit the KV cache to this machine and warm up.

    Raises ModelError, MemoryFitError or InvalidParameterError.
    """
    clock = clock or MonotonicClock()
    timer = PhaseTimer(report, clock)

    plan = plan_pooling(config, files)
    check_adapters(config, gives_vectors=plan is not None)
    if plan is not None and plan.is_encoder:
        return _start_encoder(config, files, plan, timer, clock)

    with timer.phase("import"):
        from headrace.engine.execution.model_runner import build_runner
        from headrace.engine.hardware import devices
        from headrace.engine.pooling.build import build_pooling_runner, pooling_spec
        from headrace.models.loaders.checkpoint import open_checkpoint

        device = devices.choose_device(config.device)
        dtype = devices.choose_dtype(config.dtype, device.device)
        threads = choose_num_threads(config.num_threads)

    with timer.phase("open checkpoint"):
        checkpoint = open_checkpoint(files, with_output_layer=plan is None)
        check_adapters(config, is_native=checkpoint.transformers_why is None)
        wanted_len = wanted_model_len(config, checkpoint.config.max_position)
        if plan is not None and plan.max_seq_length is not None and config.max_model_len is None:
            wanted_len = min(wanted_len, plan.max_seq_length)
        size = checkpoint.config.window_of_all_layers
        window = SlidingWindow.shorter_than(wanted_len, size, config.max_num_batched_tokens)
        check_weights_fit(
            checkpoint.num_parameters, dtype.dtype.itemsize, _free_memory(device.device, config)
        )

    with timer.phase("load weights") as progress:
        options = (dtype.dtype, device.device, threads.num_threads, progress)
        runner = (
            build_runner(checkpoint, config, *options)
            if plan is None
            else build_pooling_runner(checkpoint, config, plan, *options)
        )
        pooling = None if plan is None else pooling_spec(plan, checkpoint.config.hidden_size)

    with timer.phase("fit memory"):
        fit = _fit(config, runner, device.device, wanted_len, window)

    with timer.phase("allocate KV cache"):
        runner.allocate(fit.num_blocks, fit.max_model_len)

    with timer.phase("warm up"):
        runner.warm_up()

    core = EngineCore(
        build_scheduler(config, fit.num_blocks, fit.max_model_len, window),
        runner,
        frozenset(checkpoint.eos_token_ids),
        checkpoint.config.vocab_size,
        clock,
        build_constraints(config, files, checkpoint.config.vocab_size),
        pooling,
        None if runner.adapters is None else AdapterLoader(runner.adapters),
    )
    settings = [
        *_model_settings(files, checkpoint, runner),
        *_pooling_settings(plan),
        *_device_settings(device, dtype, runner.attention_name),
        Setting("threads", str(threads.num_threads), threads.why),
        *_size_settings(config, fit, runner),
    ]
    return StartedCore(
        core,
        CoreReady(
            max_model_len=fit.max_model_len,
            num_blocks=fit.num_blocks,
            block_size=config.block_size,
            settings=[(row.name, row.value, row.why) for row in settings],
            phases=timer.phases,
            vocab_size=checkpoint.config.vocab_size,
            sampling_defaults=recommended_sampling(checkpoint.generation_defaults),
            dtype=dtype.name,
            pooling=pooling,
        ),
    )


def _start_encoder(
    config: EngineConfig, files: ModelFiles, plan: PoolingPlan, timer: PhaseTimer, clock: Clock
) -> StartedCore:
    """An encoder has no KV cache. The scheduler counts blocks all the same, one a request, which
    bounds the requests of a step."""
    with timer.phase("import"):
        from headrace.engine.hardware import devices
        from headrace.engine.pooling import build
        from headrace.models.loaders.huggingface.safetensors_weights import SafetensorsWeights
        from headrace.models.loaders.huggingface.transformers_config import load_config

        device = devices.choose_device(config.device)
        dtype = devices.choose_encoder_dtype(config.dtype, device.device)
        threads = choose_num_threads(config.num_threads)

    with timer.phase("open checkpoint"):
        encoder = load_config(files.path)
        limit = build.encoder_max_position(encoder)
        max_model_len = wanted_model_len(config, min(limit, plan.max_seq_length or limit))
        num_parameters = SafetensorsWeights(files.path).num_parameters
        check_weights_fit(num_parameters, dtype.dtype.itemsize, _free_memory(device.device, config))

    with timer.phase("load weights"):
        runner = build.build_encoder_runner(
            files, config, plan, dtype.dtype, device.device, threads.num_threads
        )

    with timer.phase("warm up"):
        runner.warm_up()

    spec = build.pooling_spec(plan, encoder.hidden_size)
    accounts = replace(config, block_size=max_model_len, enable_prefix_caching=False)
    core = EngineCore(
        build_scheduler(accounts, config.max_num_seqs, max_model_len),
        runner,
        frozenset(),
        encoder.vocab_size,
        clock,
        pooling=spec,
    )
    reason = "the model's own limit" if config.max_model_len is None else "as configured"
    settings = [
        Setting("model", files.name, f"{files.format}, {files.path}"),
        Setting("architecture", type(runner.model).__name__, "computed by transformers' code"),
        Setting(
            "parameters",
            format_count(num_parameters),
            f"{format_bytes(runner.weight_bytes)} in memory",
        ),
        *_pooling_settings(plan),
        *_device_settings(device, dtype, runner.attention_name),
        Setting("threads", str(threads.num_threads), threads.why),
        Setting("max_model_len", str(max_model_len), reason),
        Setting("KV cache", "none", "an encoder attends to a whole prompt at once"),
        _option_setting(config, "max_num_seqs"),
        _option_setting(config, "max_num_batched_tokens"),
    ]
    return StartedCore(
        core,
        CoreReady(
            max_model_len=max_model_len,
            num_blocks=config.max_num_seqs,
            block_size=max_model_len,
            settings=[(row.name, row.value, row.why) for row in settings],
            phases=timer.phases,
            vocab_size=encoder.vocab_size,
            dtype=dtype.name,
            pooling=spec,
        ),
    )


def wanted_model_len(config: EngineConfig, max_position: int) -> int:
    """The configured context length, by default the model's limit."""
    if config.max_model_len is None:
        return max_position
    if config.max_model_len > max_position:
        raise ModelError(
            f"--max-model-len {config.max_model_len} is longer than the model's own limit of "
            f"{max_position} positions. Choose {max_position} or less."
        )
    return config.max_model_len


def build_scheduler(
    config: EngineConfig, num_blocks: int, max_model_len: int, window: SlidingWindow | None = None
) -> Scheduler:
    """A scheduler over a KV cache of this many blocks."""
    return Scheduler(
        SchedulerConfig(
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=config.max_num_batched_tokens,
            max_model_len=max_model_len,
            max_adapters=config.max_loras,
            policy=config.scheduling_policy,
        ),
        KVCacheManager(
            num_blocks=num_blocks,
            block_size=config.block_size,
            enable_prefix_caching=config.enable_prefix_caching,
            window=window,
        ),
    )


def build_constraints(
    config: EngineConfig, files: ModelFiles, vocab_size: int
) -> GrammarConstraints:
    """Structured output for this model; its tokenizer is loaded with the first grammar."""
    compiler = GrammarCompiler(lambda: load_tokenizer(files, config.tokenizer), vocab_size)
    return GrammarConstraints(compiler)


def recommended_sampling(generation_defaults: Mapping[str, Any]) -> dict[str, float]:
    """The supported and valid parameters of generation_config.json, or of a GGUF file's metadata.
    Invalid ones are dropped, so that a bad file does not make every request fail."""
    recommended: dict[str, float] = {}
    for name in _RECOMMENDED:
        value = generation_defaults.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                SamplingParams().replace(**{name: value})
            except InvalidParameterError:
                continue
            recommended[name] = value
    return recommended


def _free_memory(device: torch.device, config: EngineConfig) -> int:
    if device.type == "cpu":
        return free_cpu_memory()
    from headrace.engine.hardware.devices import cuda_memory

    return cuda_memory(device).within(config.gpu_memory_utilization)


def _fit(
    config: EngineConfig,
    runner: ModelRunner,
    device: torch.device,
    wanted_len: int,
    window: SlidingWindow | None,
) -> KVCacheFit:
    requested = config.kv_cache_memory
    on_cpu = device.type == "cpu"
    return fit_kv_cache(
        free_bytes=_free_memory(device, config),
        reserve_bytes=runner.activation_bytes(config.max_num_batched_tokens),
        block_bytes=runner.block_bytes,
        block_size=config.block_size,
        max_model_len_wanted=wanted_len,
        # On CUDA the cache takes all free memory, which also keeps more prefixes.
        max_num_seqs=config.max_num_seqs if on_cpu else None,
        requested_bytes=None if requested is None else parse_memory_size(requested),
        share=CPU_KV_CACHE_SHARE if on_cpu else 1.0,
        window=window,
        num_models=config.max_loaded_models,
    )


def _model_settings(
    files: ModelFiles, checkpoint: Checkpoint, runner: ModelRunner
) -> list[Setting]:
    return [
        Setting("model", files.name, f"{files.format}, {files.path}"),
        Setting("architecture", checkpoint.config.architecture, _architecture_why(checkpoint)),
        Setting(
            "parameters",
            format_count(checkpoint.num_parameters),
            f"{format_bytes(runner.weight_bytes)} in memory",
        ),
    ]


def _architecture_why(checkpoint: Checkpoint) -> str:
    if checkpoint.transformers_why is None:
        return "from the model's config"
    reason = checkpoint.transformers_why.partition(". ")[0]
    return f"computed by transformers' modeling code: {reason}"


def _pooling_settings(plan: PoolingPlan | None) -> list[Setting]:
    if plan is None:
        return []
    return [Setting("task", plan.task, f"pooling: {plan.pooling}, {plan.why}")]


def _device_settings(
    device: DeviceChoice, dtype: DTypeChoice, attention_name: str
) -> list[Setting]:
    from headrace.engine.hardware.devices import describe_device

    return [
        Setting("device", describe_device(device.device), device.why),
        Setting("dtype", dtype.name, dtype.why),
        Setting("attention", attention_name, "fastest available"),
    ]


def _size_settings(config: EngineConfig, fit: KVCacheFit, runner: ModelRunner) -> list[Setting]:
    num_tokens = fit.num_blocks * config.block_size
    reason = "the model's own limit" if config.max_model_len is None else "as configured"
    return [
        Setting("max_model_len", str(fit.max_model_len), fit.max_model_len_why or reason),
        Setting(
            "KV cache",
            f"{num_tokens} tokens, {format_bytes(fit.num_blocks * runner.block_bytes)}",
            fit.num_blocks_why,
        ),
        _option_setting(config, "max_num_seqs"),
        _option_setting(config, "max_num_batched_tokens"),
        _option_setting(config, "block_size"),
        Setting(
            "prefix caching",
            "on" if config.enable_prefix_caching else "off",
            _default_or_configured(config, "enable_prefix_caching"),
        ),
    ]


def _option_setting(config: EngineConfig, name: str) -> Setting:
    return Setting(name, str(getattr(config, name)), _default_or_configured(config, name))


def _default_or_configured(config: EngineConfig, name: str) -> str:
    default = EngineConfig.__dataclass_fields__[name].default
    return "default" if getattr(config, name) == default else "as configured"
