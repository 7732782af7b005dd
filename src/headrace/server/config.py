"""The options of the HTTP server. The engine's are in engine.config.

The command line and its help are generated from these declarations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from headrace.core.errors import InvalidParameterError
from headrace.core.options import check_options, option
from headrace.listen.origins import check_allowed_hosts, check_allowed_origins
from headrace.server.api_keys import check_api_keys

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


def _check_names(param: str, names: tuple[str, ...]) -> None:
    for name in names:
        if name != name.strip() or not name.isprintable():
            raise InvalidParameterError(
                param, f"must have no surrounding spaces and no control characters, got {name!r}"
            )
    if len(set(names)) < len(names):
        raise InvalidParameterError(param, f"must not repeat a name, got {', '.join(names)}")


def _check_endpoint(param: str, endpoint: str) -> None:
    url = urlsplit(endpoint)
    if url.scheme == "grpc":
        raise InvalidParameterError(
            param, "must be OTLP over HTTP, whose port is usually 4318, got a grpc:// URL"
        )
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InvalidParameterError(param, "must be an http:// or https:// URL")


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """The options of ``headrace serve`` that the engine does not have.

    Raises InvalidParameterError for an invalid value.
    """

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 for all interfaces.")
    port: int = option(8000, "Port to listen on; 0 for any free port.", ge=0, le=65535)
    ssl_certfile: Path | None = option(
        None, "TLS certificate chain (PEM); serves HTTPS. Requires --ssl-keyfile."
    )
    ssl_keyfile: Path | None = option(None, "Private key of the certificate (PEM, no passphrase).")
    api_key: tuple[str, ...] = option(
        (),
        "API key required under /v1 and by /pooling, /classify, /score and /rerank, sent as "
        "'Authorization: Bearer KEY'. Repeatable; in the environment variable, separate keys with "
        "spaces. Command lines are visible to all users of the machine: prefer the environment "
        "variable or --api-key-file.",
        env="HEADRACE_API_KEY",
        check=check_api_keys,
        secret=True,
    )
    api_key_file: Path | None = option(
        None, "File with one API key per line; blank lines and lines starting with # are skipped."
    )
    allowed_hosts: tuple[str, ...] = option(
        (),
        "Additional Host header to accept when listening on loopback without API keys; *.NAME "
        "matches its subdomains, * any host. Repeatable, or a JSON list.",
        check=check_allowed_hosts,
        json_list=True,
    )
    allowed_origins: tuple[str, ...] = option(
        (),
        "Origin (SCHEME://HOST[:PORT]) allowed by CORS; * for all. Repeatable, or a JSON list. "
        "Default: all if API keys are set, else origins on loopback.",
        check=check_allowed_origins,
        json_list=True,
    )
    allowed_methods: tuple[str, ...] = option(
        ("*",), "Methods allowed by CORS. Repeatable, or a JSON list.", json_list=True
    )
    allowed_headers: tuple[str, ...] = option(
        ("*",), "Request headers allowed by CORS. Repeatable, or a JSON list.", json_list=True
    )
    allow_credentials: bool = option(
        False, "Allow credentials (cookies, client certificates) in CORS requests."
    )
    served_model_name: tuple[str, ...] = option(
        (),
        "Model name in the API (default: MODEL). Repeatable: the first is the name in responses, "
        "the others are aliases.",
        check=_check_names,
    )
    chat_template: str | None = option(
        None, "Chat template (Jinja) that replaces the model's: a file or the template itself."
    )
    sampling_defaults: Literal["model", "none"] = option(
        "model",
        "Sampling parameters for requests that set none: model uses the model's recommended ones "
        "(generation_config.json, or Headrace's own), none uses OpenAI's defaults.",
    )
    max_queue: int = option(
        1024,
        "Maximum number of queued requests; further ones get 429.",
        ge=0,
        le=2**20,
    )
    max_body_size: int = option(
        32 * 1024 * 1024,
        "Maximum size of a request body in bytes; larger ones get 413.",
        ge=1,
        le=2**30,
    )
    shutdown_timeout: float = option(
        60.0,
        "Seconds to wait for running requests after SIGTERM or Ctrl-C.",
        ge=0.0,
        le=86_400.0,
    )
    log_level: LogLevel = option("info", "Log level.")
    log_format: LogFormat = option(
        "text", "Format of the log: text, or json for one JSON object a line."
    )
    access_log: bool = option(
        False,
        "Log one line for every HTTP request: its id, status, duration and token counts, and "
        "neither prompt nor output.",
    )
    legacy_metrics: bool = option(
        True,
        "Also export metrics under the names of vLLM's first engine (V0), which older dashboards "
        "query.",
    )
    otlp_traces_endpoint: str | None = option(
        None,
        "OTLP endpoint (HTTP) that gets one trace span per request, such as "
        "http://localhost:4318/v1/traces. Requires pip install 'headrace[otlp]'.",
        check=_check_endpoint,
    )

    def __post_init__(self) -> None:
        check_options(self)
