"""The dashboard of the platform: services, revisions, gateway, control plane."""

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
from headrace.control.monitoring.targets import CONTROL_JOB, GATEWAY_JOB

_SERVICE = 'service=~"$service"'
_REVISION = f'{_SERVICE}, revision=~"$revision"'
_PER_REVISION = "service, revision"
_NAME = "{{service}}/{{revision}}"
_REQUESTS = "headrace_gateway_requests_total"


def _error_ratio(selector: str, by: str) -> str:
    """0 while there are requests and no errors: the counters of errors appear with the first."""
    errors = f'code=~"5..", {selector}'
    every = rate(_REQUESTS, selector, by)
    return f"({rate(_REQUESTS, errors, by)} or 0 * {every}) / {every}"


SERVICES = Row(
    "Services",
    (
        Panel(
            "Requests",
            REQUESTS_PER_S,
            (Query(rate(_REQUESTS, _SERVICE, "service"), "{{service}}"),),
        ),
        Panel(
            "Error ratio",
            FRACTION,
            (Query(_error_ratio(_SERVICE, "service"), "{{service}}"),),
            "Share of responses with status 5xx.",
        ),
        Panel(
            "Responses by status",
            REQUESTS_PER_S,
            (Query(rate(_REQUESTS, _SERVICE, "service, code"), "{{service}} {{code}}"),),
            "499: the client disconnected.",
        ),
        Panel(
            "Time to first token",
            SECONDS,
            quantiles(
                "headrace_gateway_time_to_first_token_seconds", _SERVICE, "service", "{{service}}"
            ),
            "Of streams: from a request's arrival at the gateway to the first byte of its stream.",
        ),
        Panel(
            "Replicas by state",
            COUNT,
            (
                Query(
                    f"sum by (service, state) (headrace_control_replicas{{{_SERVICE}}})",
                    "{{service}} {{state}}",
                ),
            ),
        ),
        Panel(
            "Gateway status",
            COUNT,
            (
                Query(
                    f"max by (service, status) (headrace_control_gateway_status{{{_SERVICE}}})",
                    "{{service}} {{status}}",
                ),
            ),
            "1 for the current status. failed: a requested target is in a crash loop.",
        ),
    ),
)

REVISIONS = Row(
    "Revisions",
    (
        Panel(
            "Requests by revision",
            REQUESTS_PER_S,
            (Query(rate(_REQUESTS, _REVISION, _PER_REVISION), _NAME),),
        ),
        Panel(
            "Traffic weight",
            "percent",
            (Query(f"headrace_control_traffic_weight{{{_REVISION}}}", _NAME),),
        ),
        Panel(
            "Error ratio by revision",
            FRACTION,
            (Query(_error_ratio(_REVISION, _PER_REVISION), _NAME),),
        ),
        Panel(
            "Time to first token by revision",
            SECONDS,
            quantiles(
                "headrace_gateway_time_to_first_token_seconds", _REVISION, _PER_REVISION, _NAME
            ),
        ),
        Panel(
            "Requests waiting at the gateway",
            COUNT,
            (Query(f"sum by ({_PER_REVISION}) (headrace_gateway_waiting{{{_REVISION}}})", _NAME),),
        ),
        Panel(
            "Requests in flight",
            COUNT,
            (
                Query(
                    f"sum by ({_PER_REVISION}) (headrace_gateway_outstanding{{{_REVISION}}})",
                    _NAME,
                ),
            ),
        ),
        Panel(
            "Ready and desired replicas",
            COUNT,
            (
                Query(f'headrace_control_replicas{{state="ready", {_REVISION}}}', f"{_NAME} ready"),
                Query(f"headrace_control_desired_replicas{{{_REVISION}}}", f"{_NAME} desired"),
            ),
        ),
        Panel(
            "Replica crashes",
            COUNT,
            (
                Query(
                    f"increase(headrace_control_replica_crashes_total{{{_REVISION}}}"
                    "[$__rate_interval])",
                    _NAME,
                ),
                Query(f"headrace_control_crash_loop{{{_REVISION}}}", f"{_NAME} crash loop"),
            ),
            "Crashes in the interval; 1 while the revision is in a crash loop.",
        ),
        Panel(
            "KV cache usage",
            FRACTION,
            (Query(f"max by (replica) (vllm:kv_cache_usage_perc{{{_REVISION}}})", "{{replica}}"),),
        ),
    ),
)

TRAFFIC = Row(
    "Tokens, keys and models",
    (
        Panel(
            "Tokens",
            TOKENS_PER_S,
            tuple(
                Query(
                    rate(f"headrace_gateway_{kind}_tokens_total", _SERVICE, "service"),
                    f"{{{{service}}}} {kind}",
                )
                for kind in ("prompt", "completion", "cached")
            ),
            "From the usage of responses. A stream has usage only if its client asks for it, with "
            "stream_options.include_usage.",
        ),
        Panel(
            "Requests by key and model",
            REQUESTS_PER_S,
            (
                Query(
                    rate(_REQUESTS, _SERVICE, "service, key, model"),
                    "{{service}} {{key}} {{model}}",
                ),
            ),
        ),
        Panel(
            "Output tokens by key and model",
            TOKENS_PER_S,
            (
                Query(
                    rate(
                        "headrace_gateway_completion_tokens_total", _SERVICE, "service, key, model"
                    ),
                    "{{service}} {{key}} {{model}}",
                ),
            ),
        ),
        Panel(
            "Inter-token latency",
            SECONDS,
            quantiles(
                "headrace_gateway_inter_token_latency_seconds", _SERVICE, "service", "{{service}}"
            ),
            "Time between two chunks of a stream.",
        ),
        Panel(
            "Errors by reason",
            REQUESTS_PER_S,
            (
                Query(
                    f"{rate('headrace_gateway_errors_total', _SERVICE, 'service, reason')} "
                    f"or 0 * {rate(_REQUESTS, _SERVICE, 'service')}",
                    "{{service}} {{reason}}",
                ),
            ),
            "The gateway's error codes; replica_error: the replica's own 5xx.",
        ),
        Panel(
            "Requests held in the queue",
            COUNT,
            (
                Query(
                    f"{rate('headrace_gateway_queue_seconds_sum', _SERVICE, 'service')} "
                    f"or 0 * {rate(_REQUESTS, _SERVICE, 'service')}",
                    "{{service}}",
                ),
            ),
            "Mean number, from the time that requests spent there.",
        ),
    ),
)

GATEWAY = Row(
    "Gateway",
    (
        Panel(
            "Added latency",
            SECONDS,
            quantiles("headrace_gateway_added_latency_seconds", _SERVICE, "service", "{{service}}"),
            "Latency that the gateway adds to requests that were neither queued nor retried.",
        ),
        Panel(
            "Retries and ejections",
            "ops",
            (
                Query(
                    rate("headrace_gateway_retries_total", _SERVICE, "service"),
                    "{{service}} retries",
                ),
                Query(
                    rate("headrace_gateway_ejections_total", _SERVICE, "service"),
                    "{{service}} ejections",
                ),
            ),
        ),
        Panel(
            "Requests sent to replicas",
            REQUESTS_PER_S,
            (
                Query(
                    rate("headrace_gateway_replica_requests_total", _REVISION, "replica"),
                    "{{replica}}",
                ),
                Query(
                    rate("headrace_gateway_replica_failures_total", _REVISION, "replica"),
                    "{{replica}} failed",
                ),
            ),
        ),
        Panel(
            "Ejected replicas",
            COUNT,
            (Query(f"sum by (service) (headrace_gateway_ejected{{{_SERVICE}}})", "{{service}}"),),
        ),
        Panel(
            "Quarantined requests",
            COUNT,
            (Query(f"headrace_gateway_quarantined_requests{{{_SERVICE}}}", "{{service}}"),),
            "Requests that are blocked because replicas crashed while processing them.",
        ),
        Panel(
            "Route table version",
            COUNT,
            (Query("headrace_gateway_routes_version", "version"),),
        ),
    ),
)

PROCESSES = Row(
    "Control plane and processes",
    (
        Panel(
            "Control loop pass",
            SECONDS,
            quantiles("headrace_control_pass_duration_seconds", "", "", "pass"),
        ),
        Panel(
            "CPU",
            CORES,
            (
                Query(
                    "rate(process_cpu_seconds_total"
                    f'{{job=~"{GATEWAY_JOB}|{CONTROL_JOB}"}}[$__rate_interval])',
                    "{{job}}",
                ),
            ),
        ),
        Panel(
            "Memory",
            BYTES,
            (
                Query(
                    f'process_resident_memory_bytes{{job=~"{GATEWAY_JOB}|{CONTROL_JOB}"}}',
                    "{{job}}",
                ),
            ),
        ),
        Panel(
            "Runs",
            COUNT,
            (Query("sum by (state) (headrace_control_runs)", "{{state}}"),),
            "Runs that are not over.",
        ),
        Panel(
            "Scraped",
            COUNT,
            (Query("sum by (job) (up)", "{{job}}"),),
            "Number of targets that respond.",
        ),
        Panel(
            "Database",
            COUNT,
            (Query("headrace_control_database_up", "readable"),),
        ),
    ),
)

PLATFORM = Dashboard(
    uid="headrace-platform",
    title="Headrace: platform",
    description="Services, revisions, gateway and control plane.",
    variables=(
        Variable("service", "Service", "label_values(headrace_control_replicas, service)"),
        Variable(
            "revision",
            "Revision",
            f"label_values(headrace_control_replicas{{{_SERVICE}}}, revision)",
        ),
    ),
    rows=(SERVICES, REVISIONS, TRAFFIC, GATEWAY, PROCESSES),
)
