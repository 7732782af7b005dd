"""One model's metrics under vLLM's names, types, labels and buckets.

All updates run on the event loop's thread, so no locks are needed and sums are exact.
"""

from prometheus_client import CollectorRegistry, Counter

from headrace.core.generation.outputs import RequestTimes
from headrace.core.generation.stats import EngineStats
from headrace.engine.config import EngineConfig
from headrace.engine.messages import CoreReady
from headrace.engine.metrics_hooks import FinishedChoice
from headrace.server.reporting.metric_families import Families, LegacyFamilies


class ServerMetrics:
    """An EngineObserver for one model. Events before ``open`` are ignored."""

    def __init__(self, model_name: str, *, with_legacy: bool = True) -> None:
        """with_legacy: also export the names of LegacyFamilies."""
        self.registry = CollectorRegistry()
        self.model_name = model_name
        self._with_legacy = with_legacy
        self._legacy: LegacyFamilies | None = None
        self._families: Families | None = None
        self._last = EngineStats()
        self._num_first_tokens = 0
        """First tokens of the step whose stats arrive next."""

    def open(self, ready: CoreReady, config: EngineConfig) -> None:
        """The model is loaded. The first time, create the metrics: some buckets depend on the
        engine's context length."""
        if self._families is None:
            self._families = Families(self.registry, self.model_name, ready.max_model_len)
            if self._with_legacy:
                self._legacy = LegacyFamilies(self.registry, self.model_name)
        self._families.sleep_state(is_loaded=True)
        self._families.cache_config(
            block_size=ready.block_size,
            num_blocks=ready.num_blocks,
            cache_dtype=ready.dtype or config.dtype,
            prefix_caching=config.enable_prefix_caching,
            gpu_memory_utilization=config.gpu_memory_utilization,
        )

    def on_unloaded(self) -> None:
        """The model was unloaded. Counters keep their values."""
        self.on_stats(EngineStats())
        if self._families is not None:
            self._families.sleep_state(is_loaded=False)

    def on_stats(self, stats: EngineStats) -> None:
        families = self._families
        if families is None:
            return
        families.running.set(stats.num_running)
        families.waiting.set(stats.num_waiting)
        families.waiting_for_capacity.set(stats.num_waiting)
        families.kv_usage.set(stats.kv_cache_usage)
        if self._legacy is not None:
            self._legacy.kv_usage.set(stats.kv_cache_usage)
        if stats.num_scheduled_tokens:
            # vLLM counts computed prompt tokens plus sampled output tokens. A decode step computes
            # one token and samples one; a step that completes a prompt samples one in addition.
            families.iteration_tokens.observe(stats.num_scheduled_tokens + self._num_first_tokens)
            self._num_first_tokens = 0
        last, self._last = self._last, stats
        _advance(
            families.cache_queries,
            last.prefix_cache_queries_total,
            stats.prefix_cache_queries_total,
        )
        _advance(families.cache_hits, last.prefix_cache_hits_total, stats.prefix_cache_hits_total)
        _advance(families.preemptions, last.num_preemptions_total, stats.num_preemptions_total)

    def on_first_token(self, num_prompt_tokens: int, num_cached_tokens: int, ttft_s: float) -> None:
        families = self._families
        if families is None:
            return
        self._num_first_tokens += 1
        self._observe_prompt(families, num_prompt_tokens, num_cached_tokens, ttft_s)

    def on_vector(self, num_prompt_tokens: int, num_cached_tokens: int, latency_s: float) -> None:
        # vLLM counts the end of a pooling request's prefill as its first token.
        if self._families is not None:
            self._observe_prompt(self._families, num_prompt_tokens, num_cached_tokens, latency_s)

    @staticmethod
    def _observe_prompt(
        families: Families, num_prompt_tokens: int, num_cached_tokens: int, ttft_s: float
    ) -> None:
        families.prompt_tokens.inc(num_prompt_tokens)
        families.prompt_tokens_cached.inc(num_cached_tokens)
        families.prompt_tokens_hit.inc(num_cached_tokens)
        families.prompt_tokens_computed.inc(num_prompt_tokens - num_cached_tokens)
        families.time_to_first_token.observe(ttft_s)

    def on_tokens(self, num_tokens: int) -> None:
        if self._families is not None:
            self._families.generation_tokens.inc(num_tokens)

    def on_inter_token(self, interval_s: float) -> None:
        if self._families is not None:
            self._families.inter_token_latency.observe(interval_s)
        if self._legacy is not None:
            self._legacy.time_per_output_token.observe(interval_s)

    def on_finished(self, choice: FinishedChoice) -> None:
        families = self._families
        if families is None:
            return
        families.success[choice.finish_reason].inc()
        families.e2e_latency.observe(choice.finished_time - choice.arrival_time)
        families.request_prompt_tokens.observe(choice.num_prompt_tokens)
        families.request_generation_tokens.observe(choice.num_output_tokens)
        families.request_params_max_tokens.observe(choice.max_output_tokens)
        families.request_preemptions.observe(choice.num_preemptions)
        if choice.longest_choice is not None:
            families.request_params_n.observe(choice.params.n)
            families.request_max_generation_tokens.observe(choice.longest_choice)
        if choice.times is not None:
            families.request_prefill_computed.observe(
                choice.num_prompt_tokens - choice.num_cached_tokens
            )
            _observe_times(families, choice.times, choice.num_output_tokens)


def _advance(counter: Counter, before: int, now: int) -> None:
    """Add the growth of a total to a counter. A total that restarts from zero adds nothing."""
    if now > before:
        counter.inc(now - before)


def _observe_times(families: Families, times: RequestTimes, num_output_tokens: int) -> None:
    decode_s = times.last_token - times.first_token
    families.queue_time.observe(times.scheduled - times.queued)
    families.prefill_time.observe(times.first_token - times.scheduled)
    families.decode_time.observe(decode_s)
    families.inference_time.observe(times.last_token - times.scheduled)
    # The first token belongs to the prefill.
    num_decoded = num_output_tokens - 1
    families.time_per_output_token.observe(decode_s / num_decoded if num_decoded > 0 else 0.0)
