"""Names, labels and buckets of the metrics. They are vLLM's, so that its dashboards work."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headrace.core.generation.outputs import FinishReason

LATENCY_BUCKETS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
INTER_TOKEN_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0),
)
ITERATION_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
CHOICES_BUCKETS = (1, 2, 5, 10, 20)
PREEMPTIONS_BUCKETS = (1, 2, 3, 4, 5, 10, 20)


def token_buckets(max_model_len: int) -> list[float]:
    """1, 2, 5, 10, 20, … up to the context length."""
    buckets: list[float] = []
    unit = 1
    while True:
        for step in (1, 2, 5):
            if step * unit > max_model_len:
                return buckets
            buckets.append(step * unit)
        unit *= 10


class _ModelFamilies:
    """Creates metrics that are bound to the labels of one model."""

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        self._registry = registry
        self._labels = {"model_name": model_name, "engine": "0"}

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(
            f"vllm:{name}", documentation, labelnames=tuple(self._labels), registry=self._registry
        ).labels(**self._labels)

    def _gauges(
        self, name: str, documentation: str, label: str, values: tuple[str, ...]
    ) -> dict[str, Gauge]:
        """One gauge per value of an additional label."""
        family = Gauge(
            f"vllm:{name}",
            documentation,
            labelnames=(*self._labels, label),
            registry=self._registry,
        )
        return {value: family.labels(**self._labels, **{label: value}) for value in values}

    def _counter(self, name: str, documentation: str) -> Counter:
        return Counter(
            f"vllm:{name}", documentation, labelnames=tuple(self._labels), registry=self._registry
        ).labels(**self._labels)

    def _counters(
        self, name: str, documentation: str, label: str, values: tuple[str, ...]
    ) -> dict[str, Counter]:
        """One counter per value of an additional label."""
        family = Counter(
            f"vllm:{name}",
            documentation,
            labelnames=(*self._labels, label),
            registry=self._registry,
        )
        return {value: family.labels(**self._labels, **{label: value}) for value in values}

    def _histogram(
        self, name: str, documentation: str, buckets: tuple[float, ...] | list[float]
    ) -> Histogram:
        return Histogram(
            f"vllm:{name}",
            documentation,
            labelnames=tuple(self._labels),
            buckets=buckets,
            registry=self._registry,
        ).labels(**self._labels)

    def _latency(self, name: str, documentation: str) -> Histogram:
        return self._histogram(name, documentation, LATENCY_BUCKETS)


class Families(_ModelFamilies):
    """All metrics of one model, except its legacy ones."""

    def __init__(self, registry: CollectorRegistry, model_name: str, max_model_len: int) -> None:
        super().__init__(registry, model_name)
        tokens = token_buckets(max_model_len)

        self.running = self._gauge(
            "num_requests_running", "Number of requests in model execution batches."
        )
        self.waiting = self._gauge(
            "num_requests_waiting", "Number of requests waiting to be processed."
        )
        by_reason = self._gauges(
            "num_requests_waiting_by_reason",
            "Number of requests waiting to be processed, by reason.",
            "reason",
            ("capacity", "deferred"),
        )
        self.waiting_for_capacity = by_reason["capacity"]
        self.kv_usage = self._gauge(
            "kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage."
        )
        self._sleep = self._gauges(
            "engine_sleep_state",
            "1 for the engine's sleep state: awake, or discard_all while the model is unloaded.",
            "sleep_state",
            ("awake", "weights_offloaded", "discard_all"),
        )
        self._cache_config: Gauge | None = None

        self.cache_queries = self._counter(
            "prefix_cache_queries", "Tokens looked up in the prefix cache."
        )
        self.cache_hits = self._counter("prefix_cache_hits", "Tokens found in the prefix cache.")
        self.preemptions = self._counter("num_preemptions", "Number of preemptions.")
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens, including cached ones.")
        by_source = self._counters(
            "prompt_tokens_by_source",
            "Prompt tokens by the source of their KV cache.",
            "source",
            ("local_compute", "local_cache_hit", "external_kv_transfer"),
        )
        self.prompt_tokens_computed = by_source["local_compute"]
        self.prompt_tokens_hit = by_source["local_cache_hit"]
        self.prompt_tokens_cached = self._counter(
            "prompt_tokens_cached", "Prompt tokens served from the prefix cache."
        )
        self.generation_tokens = self._counter("generation_tokens", "Output tokens.")
        self.success = self._counters(
            "request_success",
            "Finished requests by finish reason.",
            "finished_reason",
            tuple(FinishReason),
        )

        self.iteration_tokens = self._histogram(
            "iteration_tokens_total", "Prompt and output tokens of one step.", ITERATION_BUCKETS
        )
        self.request_prompt_tokens = self._histogram(
            "request_prompt_tokens", "Prompt tokens of a request.", tokens
        )
        self.request_generation_tokens = self._histogram(
            "request_generation_tokens", "Output tokens of a request.", tokens
        )
        self.request_max_generation_tokens = self._histogram(
            "request_max_num_generation_tokens",
            "Output tokens of the longest choice of a request.",
            tokens,
        )
        self.request_params_n = self._histogram(
            "request_params_n", "Parameter n of a request.", CHOICES_BUCKETS
        )
        self.request_params_max_tokens = self._histogram(
            "request_params_max_tokens",
            "Parameter max_tokens of a request, or the rest of the context.",
            tokens,
        )
        self.request_preemptions = self._histogram(
            "request_num_preemptions",
            "Number of preemptions of a request.",
            PREEMPTIONS_BUCKETS,
        )
        self.request_prefill_computed = self._histogram(
            "request_prefill_kv_computed_tokens",
            "Prompt tokens of a request that were not cached.",
            tokens,
        )

        self.time_to_first_token = self._histogram(
            "time_to_first_token_seconds",
            "Time from arrival to the first token.",
            FIRST_TOKEN_BUCKETS,
        )
        self.inter_token_latency = self._histogram(
            "inter_token_latency_seconds", "Time between tokens.", INTER_TOKEN_BUCKETS
        )
        self.time_per_output_token = self._histogram(
            "request_time_per_output_token_seconds",
            "Mean time per output token of a request.",
            INTER_TOKEN_BUCKETS,
        )
        self.e2e_latency = self._latency(
            "e2e_request_latency_seconds", "Time from arrival to the last token."
        )
        self.queue_time = self._latency("request_queue_time_seconds", "Time in the queue.")
        self.inference_time = self._latency(
            "request_inference_time_seconds", "Time from the first step to the last token."
        )
        self.prefill_time = self._latency(
            "request_prefill_time_seconds", "Time from the first step to the first token."
        )
        self.decode_time = self._latency(
            "request_decode_time_seconds", "Time from the first token to the last."
        )

    def sleep_state(self, *, is_loaded: bool) -> None:
        self._sleep["awake"].set(is_loaded)
        self._sleep["discard_all"].set(not is_loaded)

    def cache_config(
        self,
        *,
        block_size: int,
        num_blocks: int,
        cache_dtype: str,
        prefix_caching: bool,
        gpu_memory_utilization: float,
    ) -> None:
        """Export the KV cache's configuration as labels of a gauge with value 1."""
        labels = {
            "block_size": str(block_size),
            "cache_dtype": cache_dtype,
            "num_gpu_blocks": str(num_blocks),
            "num_cpu_blocks": "None",
            "enable_prefix_caching": str(prefix_caching),
            "prefix_caching_hash_algo": "sha256",
            "gpu_memory_utilization": str(gpu_memory_utilization),
            "engine": "0",
        }
        if self._cache_config is None:
            self._cache_config = Gauge(
                "vllm:cache_config_info",
                "KV cache configuration.",
                labelnames=tuple(labels),
                registry=self._registry,
            )
        self._cache_config.clear()
        self._cache_config.labels(**labels).set(1)


class LegacyFamilies(_ModelFamilies):
    """Metrics of vLLM's first engine (V0) that have other names now, for older dashboards."""

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        super().__init__(registry, model_name)
        self.time_per_output_token = self._histogram(
            "time_per_output_token_seconds",
            "Time between tokens. Legacy name of inter_token_latency_seconds.",
            INTER_TOKEN_BUCKETS,
        )
        self.kv_usage = self._gauge("gpu_cache_usage_perc", "Legacy name of kv_cache_usage_perc.")
        # Nothing is ever swapped: preempted requests are computed again.
        self._gauge("cpu_cache_usage_perc", "Usage of the swap space of the KV cache: always 0.")
        self._gauge("num_requests_swapped", "Number of requests swapped out: always 0.")
