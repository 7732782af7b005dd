"""``headrace up``, ``down`` and ``status``: the control plane and the gateway of this machine."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headrace.cli.deploy.control_client import JsonOption
from headrace.cli.errors import report_errors
from headrace.cli.tables import print_table

if TYPE_CHECKING:
    from headrace.control.layout import UpOptions


def _port(value: int | str) -> int:
    if not str(value).isdecimal() or not 1 <= int(value) <= 65535:
        raise typer.BadParameter(f"{value} is not a port: ports are 1 to 65535.")
    return int(value)


def _port_option(help_text: str) -> Any:
    return typer.Option(metavar="PORT", parser=_port, help=help_text)


def _file_option(help_text: str) -> Any:
    return typer.Option(metavar="FILE", help=f"{help_text} PEM.", show_default=False)


def _repeated_option(metavar: str, help_text: str) -> Any:
    return typer.Option(
        metavar=metavar, help=f"{help_text} Repeatable; * for all.", show_default=False
    )


def up(
    host: Annotated[
        str,
        typer.Option(metavar="HOST", help="Address that the gateway listens on; 0.0.0.0 for all."),
    ] = "127.0.0.1",
    port: Annotated[int, _port_option("Port of the gateway.")] = 8080,
    admin_port: Annotated[int, _port_option("Port of the gateway's metrics (loopback).")] = 8081,
    api_port: Annotated[int, _port_option("Port of the control plane's API (loopback).")] = 8090,
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="HEADRACE_DATABASE_URL",
            help="postgresql://USER@HOST/NAME (default: SQLite in $HEADRACE_HOME). Prefer the "
            "environment variable: other users can read a password on the command line.",
            show_default=False,
        ),
    ] = None,
    containers: Annotated[
        bool,
        typer.Option(
            "--containers/--no-containers",
            help="Run manifests with an image in containers, if Docker or Podman is available.",
        ),
    ] = True,
    ssl_certfile: Annotated[
        Path | None, _file_option("Certificate chain of the gateway, for HTTPS.")
    ] = None,
    ssl_keyfile: Annotated[Path | None, _file_option("Private key of that certificate.")] = None,
    api_ssl_certfile: Annotated[
        Path | None, _file_option("Certificate chain of the API, for HTTPS.")
    ] = None,
    api_ssl_keyfile: Annotated[
        Path | None, _file_option("Private key of that certificate.")
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        _repeated_option(
            "HOST", "Host name to accept for the API and services without keys, besides loopback."
        ),
    ] = None,
    allowed_origins: Annotated[
        list[str] | None,
        _repeated_option(
            "ORIGIN",
            "Allowed CORS origin (default: all for services with keys, loopback for the others).",
        ),
    ] = None,
    allowed_methods: Annotated[
        list[str] | None, _repeated_option("METHOD", "Allowed CORS method.")
    ] = None,
    allowed_headers: Annotated[
        list[str] | None, _repeated_option("HEADER", "Allowed CORS request header.")
    ] = None,
    allow_credentials: Annotated[
        bool, typer.Option("--allow-credentials", help="Allow CORS requests with cookies.")
    ] = False,
    monitoring: Annotated[
        bool,
        typer.Option(
            "--monitoring",
            help="Also run a Prometheus (on PATH) that scrapes all of it, with its data in "
            "$HEADRACE_HOME.",
        ),
    ] = False,
    monitoring_port: Annotated[int, _port_option("Port of that Prometheus (loopback).")] = 9090,
    request_records: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=100_000,
            help="How many of the last requests the gateway stores, without their text.",
        ),
    ] = 1000,
    log_requests: Annotated[
        bool,
        typer.Option(
            "--log-requests",
            help="Log a line for each request through the gateway, without its text.",
        ),
    ] = False,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(metavar="FORMAT", help="Of these lines: text or json."),
    ] = "text",
    otlp_traces_endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The gateway sends an OpenTelemetry span for each request to this address, such "
            "as http://localhost:4318/v1/traces. Requires pip install 'headrace[otlp]'.",
            show_default=False,
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
) -> None:
    """Start and supervise the control plane and the gateway.

    In the foreground, Ctrl-C stops both and all replicas.
    The next `headrace up` restores all deployments.
    """
    from headrace.control.layout import Layout, UpOptions
    from headrace.control.supervisor.daemons import Daemons
    from headrace.control.supervisor.starting import start_detached, startup_lock
    from headrace.control.supervisor.supervisor import ExitReason, Supervisor
    from headrace.core.home import headrace_home

    with report_errors():
        layout = Layout(headrace_home().absolute())
        options = UpOptions(
            host=host,
            port=port,
            admin_port=admin_port,
            api_port=api_port,
            database_url=database_url,
            containers="auto" if containers else "never",
            **_tls_options(ssl_certfile, ssl_keyfile, ""),
            **_tls_options(api_ssl_certfile, api_ssl_keyfile, "api_"),
            allowed_hosts=tuple(allowed_hosts or ()),
            allowed_origins=tuple(allowed_origins or ()),
            allowed_methods=tuple(allowed_methods or ()),
            allowed_headers=tuple(allowed_headers or ()),
            allow_credentials=allow_credentials,
            monitoring=monitoring,
            monitoring_port=monitoring_port,
            request_records=request_records,
            log_requests=log_requests,
            log_format=log_format,
            otlp_traces_endpoint=otlp_traces_endpoint,
        )
        daemons = Daemons(layout, options)
        with startup_lock(layout):
            daemons.start(_report)
            _report_addresses(layout.home, options)
            _warn_if_open(host)
            if detach:
                start_detached(layout)
                _report("Running in the background: `headrace status`, `headrace down`.")
                _report("Next: headrace service create NAME")
                return
            from headrace.control.supervisor.shutdown import shut_down

            _report("Ctrl-C stops it and all replicas. Next: headrace service create NAME")
            ending = Supervisor(daemons).run(_report)
            if ending is ExitReason.STOP:
                shut_down(daemons, _report)
            else:
                _report("Another command took over supervision; exiting.")


def down(
    keep_serving: Annotated[
        bool,
        typer.Option(
            "--keep-serving",
            help="Stop only the control plane: gateway, replicas and runs keep running, and the "
            "next `headrace up` adopts them.",
        ),
    ] = False,
) -> None:
    """Stop the platform: control plane, gateway, Prometheus, replicas and runs.

    Open requests finish first.
    The next `headrace up` restores all deployments.
    """
    from headrace.control.layout import Layout
    from headrace.control.supervisor.daemons import Daemons, load_options
    from headrace.control.supervisor.shutdown import shut_down
    from headrace.control.supervisor.supervisor import hand_over
    from headrace.core.home import headrace_home

    with report_errors():
        layout = Layout(headrace_home().absolute())
        options = load_options(layout)
        if options is not None:
            hand_over(layout)
            if shut_down(Daemons(layout, options), _report, keep_serving=keep_serving):
                return
        what = "The control plane is not" if keep_serving else "Nothing is"
        _report(f"{what} running in {layout.home}.")


def status(
    as_json: JsonOption = False,
) -> None:
    """Show the status of the platform's processes.

    Exits with 1 unless the gateway and the control plane are running.
    """
    from headrace.control.layout import Layout, UpOptions
    from headrace.control.supervisor.daemons import Daemons, load_options
    from headrace.control.supervisor.status import supervisor_status
    from headrace.core.home import headrace_home

    with report_errors():
        layout = Layout(headrace_home().absolute())
        parts = supervisor_status(Daemons(layout, load_options(layout) or UpOptions()))
    if as_json:
        from dataclasses import asdict

        print(json.dumps([asdict(part) for part in parts], indent=2))
    else:
        print_table(
            ("Part", "Status", "PID", "Uptime", "Address"),
            (
                (
                    part.name,
                    part.state,
                    "" if part.pid is None else str(part.pid),
                    "" if part.uptime_s is None else _duration(part.uptime_s),
                    part.address,
                )
                for part in parts
            ),
        )
    if any(part.state != "running" for part in parts[:2]):
        if not as_json:
            print("Start it with `headrace up`.", file=sys.stderr)
        raise typer.Exit(1)


def _tls_options(certfile: Path | None, keyfile: Path | None, prefix: str) -> dict[str, Any]:
    """Fields of `UpOptions`. Raises TlsError if the files cannot be used."""
    from headrace.listen.tls import TlsError, tls_files

    try:
        files = tls_files(certfile, keyfile)
        if files is None:
            return {}
        files.server_context()
    except TlsError as error:
        flag = f"--{prefix.replace('_', '-')}ssl-"
        raise TlsError(error.code, str(error).replace("--ssl-", flag)) from None
    return {
        f"{prefix}ssl_certfile": str(files.certfile.absolute()),
        f"{prefix}ssl_keyfile": str(files.keyfile.absolute()),
    }


def _warn_if_open(host: str) -> None:
    from headrace.listen.origins import is_loopback

    if not is_loopback(host):
        with suppress(OSError):
            print(
                f"Warning: the gateway listens on {host}. Services without API keys are open to "
                "every client that can reach it. Create a key: headrace service key create -s NAME",
                file=sys.stderr,
            )


def _report(line: str) -> None:
    with suppress(OSError):  # a closed terminal must not interrupt a shutdown
        print(line, flush=True)


def _report_addresses(home: Path, options: "UpOptions") -> None:
    _report(f"Gateway        {options.gateway_url}")
    _report(f"Control plane  {options.api_url}  (API: {options.api_url}/docs)")
    _report(f"Dashboard      {options.api_url}/dashboard/  (signed in: headrace dashboard)")
    if options.monitoring:
        _report(f"Prometheus     {options.monitoring_url}")
    _report(f"State          {home}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
