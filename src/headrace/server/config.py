"""The options of the HTTP server. The engine's are in engine.config.

The command line and its help are generated from these declarations.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from headrace.core.errors import InvalidParameterError
from headrace.core.options import check_options, option
from headrace.listen.origins import check_allowed_hosts, check_allowed_origins
from headrace.server.adapters import check_lora_modules
from headrace.server.api_keys import check_api_keys
from headrace.server.parsing.formats import check_reasoning_parser, check_tool_call_parser

_ROOT_PATH = re.compile(r"(/[\w.~-]+)+/?", re.ASCII)

LogLevel = Literal["debug", "info", "warning", "error"]
UvicornLogLevel = Literal["critical", "error", "warning", "info", "debug", "trace"]
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


def _check_root_path(param: str, path: str) -> None:
    if not _ROOT_PATH.fullmatch(path) or path.endswith("/"):
        raise InvalidParameterError(
            param, f"must begin with a slash and not end with one, such as /llm, got {path!r}"
        )


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
        "API key required for all endpoints but those that docs/api.md lists as open, sent as "
        "'Authorization: Bearer KEY' or 'x-api-key: KEY'. Repeatable; in the environment variable, "
        "separate keys with spaces. Command lines are visible to all users of the machine: prefer "
        "the environment variable or --api-key-file.",
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
    root_path: str | None = option(
        None,
        "Path under which a reverse proxy serves this server, such as /llm; requests may have it "
        "or not.",
        check=_check_root_path,
    )
    enable_request_id_headers: bool = option(
        True, "Send X-Request-Id, the client's or a generated one, with every response."
    )
    enable_docs: bool = option(
        True,
        "Serve /docs, /redoc and /openapi.json.",
        flags=("--enable-docs/--no-enable-docs", " /--disable-fastapi-docs"),
    )
    enable_tokenizer_info_endpoint: bool = option(
        False, "Serve /tokenizer_info, which discloses the chat template."
    )
    served_model_name: tuple[str, ...] = option(
        (),
        "Model name in the API (default: MODEL). Repeatable: the first is the name in responses, "
        "the others are aliases.",
        check=_check_names,
    )
    models_file: Path | None = option(
        None,
        "YAML file of several models with names, aliases and options of their own; replaces MODEL.",
    )
    max_loaded: int = option(
        1,
        "Of several models, how many may be in memory at the same time. They are loaded on first "
        "use, and the least recently used is unloaded after its requests.",
        ge=1,
        le=1024,
    )
    keep_alive: float | None = option(
        None,
        "Seconds after its last request until a model is unloaded; the next request loads it "
        "again. Default, and with 0: never.",
        ge=0.0,
        le=31_536_000.0,
    )
    lora_modules: tuple[str, ...] = option(
        (),
        "LoRA adapter to serve: NAME=PATH, or a JSON object with name, path and perhaps "
        "base_model_name; PATH is a directory in PEFT's layout. Repeatable. Requires "
        "--enable-lora.",
        check=check_lora_modules,
    )
    allow_runtime_lora_updating: bool = option(
        False,
        "Serve /v1/load_lora_adapter and /v1/unload_lora_adapter, by which clients name "
        "directories of this machine to read. Requires --enable-lora.",
        env="VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    )
    chat_template: str | None = option(
        None, "Chat template (Jinja) that replaces the model's: a file or the template itself."
    )
    tool_call_parser: str | None = option(
        None,
        "Format of the model's tool calls, such as hermes, llama3_json or mistral; none to leave "
        "them in the text (default: as the chat template shows).",
        check=check_tool_call_parser,
    )
    reasoning_parser: str | None = option(
        None,
        "Format of the model's reasoning, such as deepseek_r1 or mistral; none to leave it in the "
        "text (default: as the chat template shows).",
        check=check_reasoning_parser,
    )
    enable_auto_tool_choice: bool = option(
        True, "Accepted for compatibility: tools may always be called with tool_choice auto."
    )
    generation_config: str | None = option(
        None,
        "vLLM's option for --sampling-defaults: auto for the model's, vllm for none, or a "
        "directory whose generation_config.json has them.",
    )
    trust_request_chat_template: bool = option(
        False,
        "Accept chat_template in chat requests; it runs in a process with limits of time and "
        "memory, as the model's does.",
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
    max_stored_responses: int = option(
        1000,
        "Maximum number of responses of /v1/responses that are stored, in memory; the least "
        "recently used make room. 0: none.",
        ge=0,
        le=2**20,
    )
    max_stored_response_bytes: int = option(
        256 * 1024 * 1024,
        "Maximum size of all stored responses, with their conversations, in bytes.",
        ge=0,
        le=2**40,
    )
    shutdown_timeout: float = option(
        60.0,
        "Seconds to wait for running requests after SIGTERM or Ctrl-C.",
        ge=0.0,
        le=86_400.0,
    )
    log_level: LogLevel = option("info", "Log level.")
    uvicorn_log_level: UvicornLogLevel | None = option(
        None,
        "Log level of uvicorn, the HTTP server (default: that of --log-level, without the "
        "lines about its start).",
    )
    log_format: LogFormat = option(
        "text", "Format of the log: text, or json for one JSON object a line."
    )
    access_log: bool = option(
        False,
        "Log one line for every HTTP request: its id, status, duration and token counts, and "
        "neither prompt nor output.",
        flags=(
            "--access-log/--no-access-log",
            "--enable-log-requests/--no-enable-log-requests",
            " /--disable-log-requests",
            " /--disable-uvicorn-access-log",
        ),
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
