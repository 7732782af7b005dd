"""Renders the platform's resources for the terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headrace.cli.tables import fits, print_fields, print_table, wrapped

if TYPE_CHECKING:
    from headrace.control.api.responses import (
        EventView,
        GatewayView,
        GpuView,
        PortView,
        ReplicaView,
        RevisionView,
        TargetView,
    )

GAUGE_WIDTH = 10


def print_limit(num_shown: int, limit: int) -> None:
    """Print a hint if there may be more entries."""
    if num_shown == limit:
        print(f"\nShowing the newest {limit}; use --limit N for more.")


def print_gateway(gateway: "GatewayView") -> None:
    """Print a gateway's status, endpoint, options and targets."""
    endpoint = gateway.endpoint or "(not set)"
    if gateway.endpoint and gateway.path_endpoint:
        endpoint += f"  (or {gateway.path_endpoint})"
    print_fields(("Enabled", gateway.enabled), ("Status", gateway.status), ("Endpoint", endpoint))
    if gateway.message:
        print_fields(("Message", gateway.message))
    for name, value in gateway.options.items():
        if value:
            print_fields((name.replace("_", " ").capitalize(), _show_options(value)))
    _print_targets("Traffic Targets", gateway.targets)
    if gateway.applied_targets != gateway.targets:
        _print_targets("Traffic Now", gateway.applied_targets)


def print_revision(revision: "RevisionView") -> None:
    """Print one revision in full."""
    print_fields(
        ("Number", revision.number),
        ("Status", revision.status),
        ("Message", revision.message or "(none)"),
        ("Created", show_time(revision.created_at)),
        ("Runs In", revision.runs_in),
        ("Command", revision.command.strip()),
        ("Ports", ", ".join(show_port(port) for port in revision.ports) or "(none)"),
        ("Replicas", f"{revision.num_ready_replicas} ready of {revision.num_desired_replicas}"),
    )
    for replica in revision.replicas:
        print(f"  - {show_replica(replica)}")
        if replica.cause:
            print(f"    {replica.cause.splitlines()[0]}")
    if revision.cause:
        print_fields(("Cause", revision.cause))
    for note in revision.notes:
        print_fields(("Note", note))


def show_replica(replica: "ReplicaView") -> str:
    """One line: id, state, pid, GPUs and ports."""
    ports = ", ".join(show_port(port) for port in replica.ports)
    pid = "" if replica.pid is None else f", pid {replica.pid}"
    gpus = "".join(f", {show_gpu(gpu)}" for gpu in replica.gpus)
    return f"{replica.replica_id} {replica.state}{pid}{gpus}{', ' if ports else ''}{ports}"


def print_events(events: Sequence["EventView"], *, of_one: bool = False) -> None:
    """A table if it fits. ``of_one``: without the subject, which all have in common."""
    headings = ("When", "What", "Why") if of_one else ("When", "Subject", "What", "Why")
    rows = [_event_cells(event, of_one) for event in events]
    if fits(headings, rows):
        print_table(headings, rows)
        return
    for when, *what, why in rows:
        print(f"{when}  {': '.join(what)}")
        print("\n".join(wrapped(why, indent=4)))


def show_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S+00:00")


def _print_targets(title: str, targets: Sequence["TargetView"]) -> None:
    if not targets:
        print_fields((title, "(empty)"))
        return
    print(f"  {title}")
    for target in targets:
        gauge = "#" * round(target.weight * GAUGE_WIDTH / 100)
        print(
            f"  - {gauge:<{GAUGE_WIDTH}} {target.weight:>3}%: {target.number:>2} "
            f"(port {target.port})"
        )


def show_port(port: "PortView") -> str:
    """``3000 (openllm, http) on 127.0.0.1:41234``."""
    about = ", ".join(part for part in (port.name, port.type) if part)
    where = "" if port.host_port is None else f" on 127.0.0.1:{port.host_port}"
    return f"{port.port} ({about}){where}"


def show_gpu(gpu: "GpuView") -> str:
    """``GPU 0``, or ``0.5 of GPU 0``."""
    name = f"GPU {gpu.uuid if gpu.index is None else gpu.index}"
    return name if gpu.share == 1 else f"{gpu.share:g} of {name}"


def _event_cells(event: "EventView", of_one: bool) -> tuple[str, ...]:
    subject = () if of_one else (event.subject,)
    return (show_time(event.at), *subject, event.what, event.why)


def _show_options(options: object) -> str:
    """``request_timeout 300s, max_body 1MiB``: with the keys and units of manifests."""
    if not isinstance(options, dict):
        return str(options)
    given = {name: value for name, value in options.items() if value not in (None, False)}
    return ", ".join(_show_option(name, value) for name, value in given.items())


def _show_option(name: str, value: object) -> str:
    if value is True:
        return name
    if name.endswith("_s"):
        return f"{name.removesuffix('_s')} {value:g}s"
    if name.endswith("_bytes"):
        return f"{name.removesuffix('_bytes')} {_show_bytes(int(str(value)))}"
    return f"{name} {value}"


def _show_bytes(number: int) -> str:
    """In the largest unit that divides it."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if number % 1024**power == 0:
            return f"{number // 1024**power}{unit}"
    return str(number)
