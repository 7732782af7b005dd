"""Every error that the gateway itself answers with, in OpenAI's shape, each with what to do.

Knows no HTTP beyond status codes; who answers adds the headers.
"""

import msgspec

from headrace.gateway.routing.decisions import Refused

QUEUE_FULL_RETRY_AFTER_S = 1
NO_REPLICA_RETRY_AFTER_S = 5


def error_body(refused: Refused) -> bytes:
    """``{"error": {message, type, param, code}}``, also for an SSE error event."""
    error = {
        "message": refused.message,
        "type": refused.error_type,
        "param": None,
        "code": refused.code,
    }
    return msgspec.json.encode({"error": error})


def unknown_service() -> Refused:
    return Refused(
        404,
        "unknown_service",
        "No service answers at this address. Use http://SERVICE.localhost:PORT/... or "
        "http://HOST:PORT/SERVICE/...; 'headrace service list' names the services.",
    )


def invalid_key(service: str) -> Refused:
    return Refused(
        401,
        "invalid_api_key",
        f"The API key for service {service} is missing or wrong. "
        "Send it as 'Authorization: Bearer KEY'.",
    )


def host_not_allowed(service: str) -> Refused:
    return Refused(
        421,
        "host_not_allowed",
        f"Service {service} asks for no API key, so it answers only to localhost, 127.0.0.1 and "
        "names below localhost. Add other names with --allowed-hosts, or give the service a key "
        f"with 'headrace service key create --service {service} NAME'.",
    )


def origin_not_allowed() -> Refused:
    return Refused(
        403,
        "origin_not_allowed",
        "Web pages of this origin may not use this service. Add origins with --allowed-origins.",
    )


def disabled(service: str) -> Refused:
    return _unavailable(
        "service_disabled",
        f"The gateway of service {service} is not enabled. "
        f"Enable it with 'headrace gateway update --service {service}'.",
        None,
    )


def no_targets(service: str) -> Refused:
    return _unavailable(
        "no_targets",
        f"Service {service} has no traffic targets. "
        f"Set some with 'headrace gateway update --service {service}'.",
        None,
    )


def crash_backoff(service: str, revision: int, retry_after_s: int) -> Refused:
    return _unavailable(
        "crash_backoff",
        f"Revision {revision} of service {service} keeps crashing and is started again in "
        f"{retry_after_s} s. See 'headrace revision read --service {service} -n {revision}'.",
        retry_after_s,
    )


def request_kills_replicas(service: str, num_replicas: int, refused_s: int) -> Refused:
    """No client should send it again by itself, so this is no 5xx."""
    return Refused(
        422,
        "request_kills_replicas",
        f"{num_replicas} replicas of service {service} ended while they worked on this request, so "
        f"it is refused for {refused_s} s. Change the request; 'headrace service events {service}' "
        "and the logs of the replicas say more.",
    )


def service_gone(service: str) -> Refused:
    return _unavailable("service_gone", f"Service {service} was deleted meanwhile.", None)


def queue_full(service: str, max_queue: int) -> Refused:
    return Refused(
        429,
        "queue_full",
        f"The queue of service {service} is full ({max_queue} requests wait). "
        f"Try again in {QUEUE_FULL_RETRY_AFTER_S} s.",
        "rate_limit_error",
        QUEUE_FULL_RETRY_AFTER_S,
    )


def queue_timeout(service: str, queue_timeout_s: float) -> Refused:
    """For a request that was held as long as its service's limits allow."""
    return _unavailable(
        "queue_timeout",
        f"No replica of service {service} took the request within {queue_timeout_s:g} s. "
        f"Try again, or see 'headrace service read {service}'.",
        NO_REPLICA_RETRY_AFTER_S,
    )


def _unavailable(code: str, message: str, retry_after_s: int | None) -> Refused:
    return Refused(503, code, message, "server_error", retry_after_s)
