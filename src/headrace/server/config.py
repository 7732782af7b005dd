"""Every option of the HTTP server, declared once: the CLI and the docs are made from this.

Knows nothing of the engine's own options; those are in engine.config.
"""

from dataclasses import dataclass
from typing import Literal

from headrace.engine.config import option

LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where to listen, for whom, under which names, and how to end."""

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 means every interface.")
    port: int = option(8000, "Port to listen on; 0 takes a free one and prints it.")
    api_key: tuple[str, ...] = option(
        (),
        "Key that requests to /v1 must send as 'Authorization: Bearer KEY'; may be given several "
        "times. In the environment, separate keys with spaces.",
        env="HEADRACE_API_KEY",
    )
    served_model_name: tuple[str, ...] = option(
        (),
        "Name of the model in the API, if not MODEL itself; may be given several times: the first "
        "is the name, the others are aliases.",
    )
    chat_template: str | None = option(
        None, "File with a Jinja chat template, or the template itself, if not the model's own."
    )
    sampling_defaults: Literal["model", "none"] = option(
        "model",
        "For requests that name neither temperature nor top_p nor their like: what suits the model "
        "(its generation_config.json, or what Headrace knows of it), or none of that.",
    )
    max_queue: int = option(
        1024, "Most requests that may wait to be computed; more are refused with 429."
    )
    max_body_size: int = option(
        32 * 1024 * 1024, "Largest request body in bytes; larger ones are refused with 413."
    )
    shutdown_timeout: float = option(
        60.0, "Seconds that running requests have to end after SIGTERM or Ctrl-C."
    )
    log_level: LogLevel = option("info", "Least important messages that are printed.")
    access_log: bool = option(False, "Print one line for each HTTP request.")
