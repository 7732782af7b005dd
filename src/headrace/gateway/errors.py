"""Every error response of the gateway: status, stable code, and a message that says what to do.

The body has OpenAI's shape. Codes are part of the API; docs/gateway.md lists them.
"""

from dataclasses import dataclass

import msgspec

QUEUE_FULL_RETRY_AFTER_S = 1
NO_REPLICA_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What a client gets instead of a replica's response."""

    status: int
    code: str
    message: str
    error_type: str = "invalid_request_error"
    retry_after_s: int | None = None


def error_body(error: ErrorResponse) -> bytes:
    """``{"error": {message, type, param, code}}``, also the data of an SSE error event."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.error_type,
                "param": None,
                "code": error.code,
            }
        }
    )


# The request is not valid HTTP, or exceeds a limit.


def invalid_http(reason: str = "") -> ErrorResponse:
    message = "This is not a valid HTTP/1.1 request"
    return ErrorResponse(400, "invalid_http", f"{message}: {reason}." if reason else f"{message}.")


def unsupported_transfer_coding() -> ErrorResponse:
    return ErrorResponse(
        501,
        "unsupported_transfer_coding",
        "The only supported transfer coding is 'chunked'. Use Content-Encoding for compression.",
    )


def unsupported_upgrade() -> ErrorResponse:
    return ErrorResponse(
        501,
        "unsupported_upgrade",
        "WebSockets and CONNECT are not supported. Use plain HTTP/1.1 requests; responses are "
        "streamed as server-sent events.",
    )


def head_too_large(max_num_bytes: int) -> ErrorResponse:
    return ErrorResponse(
        431,
        "head_too_large",
        f"The request headers exceed {max_num_bytes} bytes. Send fewer or shorter headers.",
    )


def body_too_large(max_num_bytes: int) -> ErrorResponse:
    return ErrorResponse(
        413,
        "body_too_large",
        f"The request body exceeds this service's limit of {max_num_bytes} bytes. "
        "Send a smaller request, or raise max_body_bytes of the service.",
    )


def request_timeout() -> ErrorResponse:
    return ErrorResponse(
        408, "request_timeout", "The rest of the request did not arrive in time. Send it again."
    )


# The client may not use the service.


def unknown_service() -> ErrorResponse:
    return ErrorResponse(
        404,
        "unknown_service",
        "No service has this host or path. Use http://SERVICE.localhost:PORT/... or "
        "http://HOST:PORT/SERVICE/...; 'headrace service list' lists the services.",
    )


def invalid_api_key(service: str) -> ErrorResponse:
    return ErrorResponse(
        401,
        "invalid_api_key",
        f"The API key for service {service} is missing or wrong. "
        "Send it as 'Authorization: Bearer KEY'.",
    )


def host_not_allowed(service: str) -> ErrorResponse:
    return ErrorResponse(
        421,
        "host_not_allowed",
        f"Service {service} has no API key, so only localhost, 127.0.0.1 and names below localhost "
        "are allowed as Host. Allow other names with --allowed-hosts, or create a key with "
        f"'headrace service key create --service {service} NAME'.",
    )


def origin_not_allowed() -> ErrorResponse:
    return ErrorResponse(
        403,
        "origin_not_allowed",
        "Web pages of this origin may not use this service. Allow origins with --allowed-origins.",
    )


# The service cannot take the request now.


def service_disabled(service: str) -> ErrorResponse:
    return _unavailable(
        "service_disabled",
        f"The gateway of service {service} is disabled. "
        f"Enable it with 'headrace gateway update --service {service}'.",
        None,
    )


def no_targets(service: str) -> ErrorResponse:
    return _unavailable(
        "no_targets",
        f"Service {service} has no traffic targets. "
        f"Set them with 'headrace gateway update --service {service}'.",
        None,
    )


def service_gone(service: str) -> ErrorResponse:
    return _unavailable(
        "service_gone", f"Service {service} was deleted while the request was queued.", None
    )


def crash_backoff(service: str, revision: int, retry_after_s: int) -> ErrorResponse:
    return _unavailable(
        "crash_backoff",
        f"Revision {revision} of service {service} is in a crash loop; its next start is in "
        f"{retry_after_s} s. See 'headrace revision read --service {service} -n {revision}'.",
        retry_after_s,
    )


def queue_full(service: str, max_queue: int) -> ErrorResponse:
    return ErrorResponse(
        429,
        "queue_full",
        f"The queue of service {service} is full ({max_queue} requests). "
        f"Try again in {QUEUE_FULL_RETRY_AFTER_S} s.",
        "rate_limit_error",
        QUEUE_FULL_RETRY_AFTER_S,
    )


def queue_timeout(service: str, queue_timeout_s: float) -> ErrorResponse:
    """The request was queued as long as its service's limits allow."""
    return _unavailable(
        "queue_timeout",
        f"No replica of service {service} could take the request within {queue_timeout_s:g} s. "
        f"Try again, or see 'headrace service read {service}'.",
        NO_REPLICA_RETRY_AFTER_S,
    )


# Replicas failed.


def request_kills_replicas(service: str, num_replicas: int, blocked_s: int) -> ErrorResponse:
    """A 4xx, since clients retry a 5xx by themselves."""
    return ErrorResponse(
        422,
        "request_kills_replicas",
        f"{num_replicas} replicas of service {service} died while they processed this request, so "
        f"it is blocked for {blocked_s} s. Change the request; see 'headrace service events "
        f"{service}' and the logs of the replicas.",
    )


def upstream_failed(service: str) -> ErrorResponse:
    """No response had started, and the request may not be retried."""
    return ErrorResponse(
        502,
        "upstream_failed",
        f"The replica of service {service} failed before it responded, and the request may not be "
        f"retried. Send it again, or see 'headrace service read {service}'.",
        "server_error",
    )


def upstream_cut() -> ErrorResponse:
    """A response had started."""
    return ErrorResponse(
        502,
        "upstream_cut",
        "The replica failed while it was responding; the response is incomplete. "
        "Send the request again.",
        "server_error",
    )


def upstream_timeout(what: str, limit_s: float) -> ErrorResponse:
    return ErrorResponse(
        504,
        "upstream_timeout",
        f"The {what} exceeded this service's time limit of {limit_s:g} s. "
        "Send a smaller request, or raise the time limit of the service.",
        "server_error",
    )


def _unavailable(code: str, message: str, retry_after_s: int | None) -> ErrorResponse:
    return ErrorResponse(503, code, message, "server_error", retry_after_s)
