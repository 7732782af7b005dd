"""Every option of the HTTP server, declared once: the CLI and the docs are made from this.

Knows nothing of the engine's own options; those are in engine.config.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.core.errors import InvalidParameterError
from headrace.core.options import check_options, option
from headrace.listen.origins import check_allowed_hosts, check_allowed_origins
from headrace.server.api_keys import check_api_keys

LogLevel = Literal["debug", "info", "warning", "error"]


def _check_names(param: str, names: tuple[str, ...]) -> None:
    for name in names:
        if name != name.strip() or not name.isprintable():
            raise InvalidParameterError(
                param, f"must be without spaces at its ends and control characters, got {name!r}"
            )
    if len(set(names)) < len(names):
        raise InvalidParameterError(param, f"names one twice: {', '.join(names)}")


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where to listen, for whom, under which names, and how to end.

    Raises InvalidParameterError when a value is not accepted.
    """

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 means every interface.")
    port: int = option(8000, "Port to listen on; 0 takes a free one and prints it.", ge=0, le=65535)
    ssl_certfile: Path | None = option(
        None, "Certificate chain in PEM format, to serve HTTPS; needs --ssl-keyfile."
    )
    ssl_keyfile: Path | None = option(None, "Private key of the certificate, in PEM format.")
    api_key: tuple[str, ...] = option(
        (),
        "Key that requests to /v1 must send as 'Authorization: Bearer KEY'; may be given several "
        "times. In the environment, separate keys with spaces. The command line can be read by "
        "every user of the machine: prefer the environment or --api-key-file.",
        env="HEADRACE_API_KEY",
        check=check_api_keys,
        secret=True,
    )
    api_key_file: Path | None = option(
        None, "File of such keys, one a line; blank lines and lines that begin with # are left out."
    )
    allowed_hosts: tuple[str, ...] = option(
        (),
        "Host name to accept besides loopback's, where the server listens on loopback and asks "
        "for no key; *.NAME means all names below it, * every name. May be given several times.",
        check=check_allowed_hosts,
        json_list=True,
    )
    allowed_origins: tuple[str, ...] = option(
        (),
        "Origin (SCHEME://HOST[:PORT]) of web pages that may use the server; * means all. May be "
        "given several times, or as a JSON list. Default: all where keys are set, else loopback.",
        check=check_allowed_origins,
        json_list=True,
    )
    allowed_methods: tuple[str, ...] = option(
        ("*",), "Methods that such pages may use (CORS); as a JSON list too.", json_list=True
    )
    allowed_headers: tuple[str, ...] = option(
        ("*",), "Headers that such pages may send (CORS); as a JSON list too.", json_list=True
    )
    allow_credentials: bool = option(
        False, "Let browsers send cookies and client certificates with such requests (CORS)."
    )
    served_model_name: tuple[str, ...] = option(
        (),
        "Name of the model in the API, if not MODEL itself; may be given several times: the first "
        "is the name, the others are aliases.",
        check=_check_names,
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
        1024,
        "Most requests that may wait to be computed; more are refused with 429.",
        ge=0,
        le=2**20,
    )
    max_body_size: int = option(
        32 * 1024 * 1024,
        "Largest request body in bytes; larger ones are refused with 413.",
        ge=1,
        le=2**30,
    )
    shutdown_timeout: float = option(
        60.0,
        "Seconds that running requests have to end after SIGTERM or Ctrl-C.",
        ge=0.0,
        le=86_400.0,
    )
    log_level: LogLevel = option("info", "Least important messages that are printed.")
    access_log: bool = option(False, "Print one line for each HTTP request.")

    def __post_init__(self) -> None:
        check_options(self)
