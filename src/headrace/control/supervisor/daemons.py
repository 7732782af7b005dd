"""The processes of one home: started, restarted, stopped."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from headrace.control.errors import ConflictError, cause_of
from headrace.control.launchers.environment import inherited_environment
from headrace.control.layout import DATABASE_URL_VARIABLE, Layout, UpOptions
from headrace.control.private_file import write_private
from headrace.control.supervisor.daemon import Daemon, DaemonPlan
from headrace.control.supervisor.prometheus import prometheus_plan, require_prometheus
from headrace.control.supervisor.restarts import Restarts
from headrace.core.gateway.request_records import DEFAULT_NUM_RECORDS

_START_TIMEOUT_S = 60.0
_WATCH_S = 0.5
_GATEWAY_DRAIN_S = 60.0
_CONTROL_STOP_S = 15.0
_PROMETHEUS_STOP_S = 30.0

Report = Callable[[str], None]


def suppressing_errors(report: Report) -> Report:
    """``report`` without its errors, such as a full disk or a closed terminal."""

    def report_if_possible(line: str) -> None:
        with suppress(OSError, ValueError):
            report(line)

    return report_if_possible


class Daemons:
    """Gateway, control plane and, with monitoring, Prometheus of one home."""

    def __init__(self, layout: Layout, options: UpOptions) -> None:
        self.layout = layout
        self.options = options
        self.gateway = Daemon(_gateway_plan(layout, options))
        self.control = Daemon(_control_plan(layout, options))
        self.prometheus = Daemon(prometheus_plan(layout, options)) if options.monitoring else None
        self._daemons = tuple(filter(None, (self.gateway, self.control, self.prometheus)))

    def start(self, report: Report) -> None:
        """Start those that do not run, and wait until all are healthy.

        Raises ConflictError or LaunchError; then the processes that it started are stopped.
        """
        self.layout.make()
        _refuse_shared_port(self.options)
        self._refuse_other_options()
        if self.prometheus is not None:
            # Imported here, since every `headrace status` imports this module.
            from headrace.control.monitoring.export import write_prometheus_files

            require_prometheus()
            write_prometheus_files(self.layout)
        for daemon in self._daemons:
            if daemon.running() is None:
                daemon.refuse_taken_addresses()
        before = load_options(self.layout)
        save_options(self.layout, self.options)
        started: list[Daemon] = []
        try:
            for daemon in self._daemons:
                if (handle := daemon.running()) is None:
                    report(f"Starting the {daemon.plan.name} ...")
                    started.append(daemon)
                    handle = daemon.start()
                else:
                    report(f"The {daemon.plan.name} is already running (pid {handle.pid}).")
                daemon.wait_healthy(handle, _START_TIMEOUT_S)
        except BaseException:
            for daemon in reversed(started):
                daemon.stop(_CONTROL_STOP_S)
            _restore_options(self.layout, before)
            raise

    def watch(self, report: Report, is_over: Callable[[], bool]) -> None:
        """Restart daemons that exit, with backoff, until ``is_over``.

        Never raises: errors, such as a full disk, are reported once and retried.
        """
        report = suppressing_errors(report)
        watched = {daemon: Restarts() for daemon in self._daemons}
        last_errors: dict[Daemon, str] = {}
        while not is_over():
            for daemon, restarts in watched.items():
                try:
                    self._restart_if_gone(daemon, restarts, report)
                    last_errors.pop(daemon, None)
                except Exception as error:  # reported once, retried in every pass
                    why = cause_of(error)
                    if last_errors.get(daemon) != why:
                        last_errors[daemon] = why
                        report(f"Cannot supervise the {daemon.plan.name}: {why}")
            time.sleep(_WATCH_S)

    def _refuse_other_options(self) -> None:
        """A running daemon is not restarted, so its options must be the requested ones."""
        before = load_options(self.layout)
        if before is None or before == self.options:
            return
        plans = {daemon.plan.name: daemon.plan for daemon in self._daemons}
        for earlier in Daemons(self.layout, before)._daemons:
            name = earlier.plan.name
            if earlier.running() is not None and plans.get(name) != earlier.plan:
                raise ConflictError(
                    f"The {name} is already running with other options. Use the same "
                    f"ones ({_shown(before)}), or stop it first: headrace down"
                )

    def _restart_if_gone(self, daemon: Daemon, restarts: Restarts, report: Report) -> None:
        now_s = time.monotonic()
        if daemon.running() is not None:
            restarts.note_running(now_s)
            return
        if not restarts.is_due(now_s):
            return
        report(f"The {daemon.plan.name} has exited; restarting it.")
        pause_s = restarts.backoff_s
        restarts.note_start(now_s)
        try:
            daemon.start(requires_files=False)
        except Exception as error:
            report(f"{cause_of(error)} Retrying in {pause_s:g} s.")

    def stop_control(self) -> bool:
        """Stop only the control plane; the gateway keeps serving. True if it was running."""
        return self.control.stop(_CONTROL_STOP_S)

    def stop_prometheus(self) -> bool:
        """True if it was running."""
        return self.prometheus is not None and self.prometheus.stop(_PROMETHEUS_STOP_S)

    def stop_gateway(self, report: Report) -> bool:
        """Stop the gateway; its open requests finish first. True if it was running."""
        is_reported = False

        def report_once() -> None:
            nonlocal is_reported
            if not is_reported and time.monotonic() - began_s > 1.0:
                report("Waiting for open requests to finish ...")
                is_reported = True

        began_s = time.monotonic()
        return self.gateway.stop(_GATEWAY_DRAIN_S, on_wait=report_once)


def save_options(layout: Layout, options: UpOptions) -> None:
    """Save the options for later commands. The file is private: the URL may have a password."""
    write_private(layout.options_file, json.dumps(asdict(options)))


def _restore_options(layout: Layout, before: UpOptions | None) -> None:
    """After a failed start, `status` and `down` apply to the last successful one."""
    if before is None:
        layout.options_file.unlink(missing_ok=True)
    else:
        save_options(layout, before)


def load_options(layout: Layout) -> UpOptions | None:
    """The options of the last `headrace up`, or None."""
    try:
        kept: dict[str, Any] = json.loads(layout.options_file.read_text())
        lists = {name: tuple(value) for name, value in kept.items() if isinstance(value, list)}
        return UpOptions(**{**kept, **lists})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _refuse_shared_port(options: UpOptions) -> None:
    ports = {
        "--port": options.port,
        "--admin-port": options.admin_port,
        "--api-port": options.api_port,
        **({"--monitoring-port": options.monitoring_port} if options.monitoring else {}),
    }
    if len(set(ports.values())) < len(ports):
        shown = ", ".join(f"{option} {port}" for option, port in ports.items())
        raise ConflictError(f"The parts of the platform need different ports, got {shown}.")


def _shown(options: UpOptions) -> str:
    """As command-line options, without the database's URL, which may contain a password."""
    words = [
        f"--host {options.host} --port {options.port} --admin-port {options.admin_port}",
        f"--api-port {options.api_port}",
    ]
    if options.containers == "never":
        words.append("--no-containers")
    if options.monitoring:
        words.append(f"--monitoring --monitoring-port {options.monitoring_port}")
    api_files = _file_options(options.api_ssl_certfile, options.api_ssl_keyfile)
    gateway_options = (*_access_options(options), *_log_options(options))
    words += [shlex.quote(word) for word in gateway_options]
    words += [shlex.quote(f"--api-{word[2:]}") for word in api_files]
    database = "without" if options.database_url is None else "with the same"
    return f"{' '.join(words)}, {database} --database-url"


def _access_options(options: UpOptions) -> tuple[str, ...]:
    """Options of the gateway for TLS, hosts, origins and CORS."""
    repeated = {
        "--allowed-hosts": options.allowed_hosts,
        "--allowed-origins": options.allowed_origins,
        "--allowed-methods": options.allowed_methods,
        "--allowed-headers": options.allowed_headers,
    }
    return (
        *_file_options(options.ssl_certfile, options.ssl_keyfile),
        *(f"{name}={value}" for name, values in repeated.items() for value in values),
        *(("--allow-credentials",) if options.allow_credentials else ()),
    )


def _log_options(options: UpOptions) -> tuple[str, ...]:
    num_records = options.request_records
    records = () if num_records == DEFAULT_NUM_RECORDS else ("--request-records", str(num_records))
    logs = ("--log-requests", "--log-format", options.log_format) if options.log_requests else ()
    endpoint = options.otlp_traces_endpoint
    return (*records, *logs, *(() if endpoint is None else ("--otlp-traces-endpoint", endpoint)))


def _file_options(certfile: str | None, keyfile: str | None) -> tuple[str, ...]:
    files = {"--ssl-certfile": certfile, "--ssl-keyfile": keyfile}
    return tuple(f"{name}={path}" for name, path in files.items() if path is not None)


def _gateway_plan(layout: Layout, options: UpOptions) -> DaemonPlan:
    return DaemonPlan(
        name="gateway",
        command=(
            *(sys.executable, "-m", "headrace.gateway"),
            *("--routes", str(layout.routes)),
            *("--host", options.host, "--port", str(options.port)),
            *("--admin-port", str(options.admin_port)),
            *_access_options(options),
            *_log_options(options),
        ),
        health_url=f"{options.admin_url}/health",
        listens_on=((options.host, options.port), ("127.0.0.1", options.admin_port)),
        record=layout.daemon_file("gateway"),
        log=layout.daemon_log("gateway"),
        inherited=_for_the_gateway,
    )


def _control_plan(layout: Layout, options: UpOptions) -> DaemonPlan:
    url = options.database_url
    return DaemonPlan(
        name="control plane",
        command=(
            *(sys.executable, "-m", "headrace.dashboard"),
            *("--home", str(layout.home)),
            *("--port", str(options.api_port)),
            *("--gateway-url", options.gateway_url),
            *("--gateway-admin-url", options.admin_url),
            *("--containers", options.containers),
            *_file_options(options.api_ssl_certfile, options.api_ssl_keyfile),
            *(f"--allowed-hosts={host}" for host in options.allowed_hosts),
            *(f"--allowed-origins={origin}" for origin in options.allowed_origins),
        ),
        health_url=f"{options.api_url}/health",
        listens_on=(("127.0.0.1", options.api_port),),
        record=layout.daemon_file("control"),
        log=layout.daemon_log("control"),
        inherited=_for_the_control_plane,
        env={} if url is None else {DATABASE_URL_VARIABLE: url},
    )


def _for_the_gateway(environ: Mapping[str, str]) -> dict[str, str]:
    """The allow-list: it handles clients' requests, so it gets no credentials."""
    return inherited_environment(environ, everything=False)


def _for_the_control_plane(environ: Mapping[str, str]) -> dict[str, str]:
    """Everything: git and container runtimes need the operator's variables, and manifests with
    ``inherit_env`` pass them on."""
    return inherited_environment(environ, everything=True)
