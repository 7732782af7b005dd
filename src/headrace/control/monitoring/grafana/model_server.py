"""The dashboard of the model server: requests, latencies, tokens, scheduler, KV cache.

It works for every server that exports vLLM's metrics, and without a platform.
"""

from headrace.control.monitoring.grafana.panel import (
    BYTES,
    CORES,
    COUNT,
    FRACTION,
    REQUESTS_PER_S,
    SECONDS,
    TOKENS_PER_S,
    Dashboard,
    Panel,
    Query,
    Row,
    Variable,
    quantiles,
    rate,
)

# Without a platform there are no labels service, revision and replica; `.*` matches that too.
_PLACE = 'service=~"$service", revision=~"$revision", replica=~"$replica"'
_SELECTOR = f'model_name=~"$model", {_PLACE}'
_BY = "model_name"
_NAME = "{{model_name}}"


def _latency(title: str, metric: str, description: str = "") -> Panel:
    return Panel(title, SECONDS, quantiles(f"vllm:{metric}", _SELECTOR, _BY, _NAME), description)


def _mean(metric: str) -> str:
    total = rate(f"vllm:{metric}_sum", _SELECTOR, _BY)
    count = rate(f"vllm:{metric}_count", _SELECTOR, _BY)
    return f"{total} / {count}"


def _gauge(metric: str, function: str = "sum") -> str:
    return f"{function} by ({_BY}) (vllm:{metric}{{{_SELECTOR}}})"


def _counter(metric: str) -> str:
    return rate(f"vllm:{metric}_total", _SELECTOR, _BY)


LATENCY = Row(
    "Latency",
    (
        _latency("Time to first token", "time_to_first_token_seconds"),
        _latency("Inter-token latency", "inter_token_latency_seconds"),
        _latency("End-to-end latency", "e2e_request_latency_seconds"),
        _latency(
            "Time per output token",
            "request_time_per_output_token_seconds",
            "The mean of each request, without its first token.",
        ),
        Panel(
            "Where the time goes",
            SECONDS,
            tuple(
                Query(_mean(f"request_{part}_time_seconds"), f"{_NAME} {part}")
                for part in ("queue", "prefill", "decode")
            ),
            "Mean time per request.",
        ),
        _latency("Queue time", "request_queue_time_seconds"),
    ),
)

THROUGHPUT = Row(
    "Throughput",
    (
        Panel(
            "Tokens",
            TOKENS_PER_S,
            (
                Query(_counter("prompt_tokens"), f"{_NAME} prompt"),
                Query(_counter("generation_tokens"), f"{_NAME} output"),
            ),
        ),
        Panel(
            "Finished requests",
            REQUESTS_PER_S,
            (
                Query(
                    rate("vllm:request_success_total", _SELECTOR, f"{_BY}, finished_reason"),
                    f"{_NAME} {{{{finished_reason}}}}",
                ),
            ),
        ),
        Panel(
            "HTTP requests",
            REQUESTS_PER_S,
            (
                Query(
                    rate("http_requests_total", _PLACE, "handler, status"),
                    "{{handler}} {{status}}",
                ),
            ),
        ),
        Panel(
            "Tokens per step",
            COUNT,
            quantiles("vllm:iteration_tokens_total", _SELECTOR, _BY, _NAME),
            "Prompt and output tokens that a step of the engine processes.",
        ),
        Panel(
            "Prompt length",
            "tokens",
            quantiles("vllm:request_prompt_tokens", _SELECTOR, _BY, _NAME),
        ),
        Panel(
            "Output length",
            "tokens",
            quantiles("vllm:request_generation_tokens", _SELECTOR, _BY, _NAME),
        ),
    ),
)

SCHEDULER = Row(
    "Scheduler and KV cache",
    (
        Panel(
            "Requests in the engine",
            COUNT,
            (
                Query(_gauge("num_requests_running"), f"{_NAME} running"),
                Query(_gauge("num_requests_waiting"), f"{_NAME} waiting"),
            ),
        ),
        Panel("KV cache usage", FRACTION, (Query(_gauge("kv_cache_usage_perc", "max"), _NAME),)),
        Panel(
            "Prefix cache hit rate",
            FRACTION,
            (
                Query(
                    f"{_counter('prefix_cache_hits')} / {_counter('prefix_cache_queries')}", _NAME
                ),
            ),
            "Share of prompt tokens that were found in the prefix cache.",
        ),
        Panel("Preemptions", "ops", (Query(_counter("num_preemptions"), _NAME),)),
        Panel(
            "CPU",
            CORES,
            (
                Query(
                    f'rate(process_cpu_seconds_total{{job!~"headrace-(gateway|control-plane)", '
                    f"{_PLACE}}}[$__rate_interval])",
                    "{{instance}}",
                ),
            ),
            "Of the server's process, without the engine core's.",
        ),
        Panel(
            "Memory",
            BYTES,
            (
                Query(
                    f'process_resident_memory_bytes{{job!~"headrace-(gateway|control-plane)", '
                    f"{_PLACE}}}",
                    "{{instance}}",
                ),
            ),
            "Of the server's process, without the engine core's.",
        ),
    ),
)

MODEL_SERVER = Dashboard(
    uid="headrace-model-server",
    title="Headrace: model server",
    description="Every server that exports vLLM's metrics.",
    variables=(
        Variable("model", "Model", "label_values(vllm:num_requests_running, model_name)"),
        Variable("service", "Service", "label_values(vllm:num_requests_running, service)"),
        Variable("revision", "Revision", "label_values(vllm:num_requests_running, revision)"),
        Variable("replica", "Replica", "label_values(vllm:num_requests_running, replica)"),
    ),
    rows=(LATENCY, THROUGHPUT, SCHEDULER),
)
