"""How the platform's resources look in a terminal. Knows no command and asks nobody."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from headrace.control.api.views import (
        EventView,
        GatewayView,
        PortView,
        ReplicaView,
        RevisionView,
        TargetView,
    )

GAUGE_WIDTH = 10


def print_fields(*fields: tuple[str, object]) -> None:
    """One field a line, its name first; a value of several lines goes below it."""
    for name, value in fields:
        lines = str(value).splitlines() or ["(empty)"]
        if len(lines) == 1:
            print(f"  {name} {lines[0]}")
        else:
            print(f"  {name}")
            for line in lines:
                print(f"    {line}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table that is as wide as what is in it where nobody looks at it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading != headings[-1], overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        print(line.rstrip())


def print_gateway(gateway: "GatewayView") -> None:
    """As a person wants to know it: whether traffic flows, where in, and where to."""
    endpoint = gateway.endpoint or "(not set)"
    if gateway.endpoint and gateway.path_endpoint:
        endpoint += f"  (or {gateway.path_endpoint})"
    print_fields(("Enabled", gateway.enabled), ("Status", gateway.status), ("Endpoint", endpoint))
    if gateway.message:
        print_fields(("Message", gateway.message))
    for name, value in gateway.options.items():
        if value:
            print_fields((name.capitalize(), _options(value)))
    _print_targets("Traffic Targets", gateway.targets)
    if gateway.applied_targets != gateway.targets:
        _print_targets("Traffic Now", gateway.applied_targets)


def print_revision(revision: "RevisionView") -> None:
    """All of one revision."""
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
    if revision.cause:
        print_fields(("Cause", revision.cause))
    for note in revision.notes:
        print_fields(("Note", note))


def show_replica(replica: "ReplicaView") -> str:
    """One line."""
    ports = ", ".join(show_port(port) for port in replica.ports)
    pid = "" if replica.pid is None else f", pid {replica.pid}"
    cause = f": {replica.cause.splitlines()[0]}" if replica.cause else ""
    return f"{replica.replica_id} {replica.state}{pid}{', ' if ports else ''}{ports}{cause}"


def print_events(events: Sequence["EventView"]) -> None:
    print_table(
        ("WHEN", "SUBJECT", "WHAT", "WHY"),
        ((show_time(event.at), event.subject, event.what, event.why) for event in events),
    )


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


def _options(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items() if item is not None)
    return str(value)
