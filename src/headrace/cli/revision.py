"""``headrace revision``: immutable versions of a service."""

from typing import Annotated

import typer

from headrace.cli.connecting import (
    FileOption,
    JsonOption,
    NumberOption,
    ServiceOption,
    connected,
    print_json,
    read_manifest,
    write_log,
)
from headrace.cli.showing import print_fields, print_gateway, print_revision
from headrace.control.errors import ConflictError

app = typer.Typer(name="revision", help="Create and look at revisions.", no_args_is_help=True)


@app.command("create")
def create_command(service: ServiceOption, file: FileOption, as_json: JsonOption = False) -> None:
    """Deploy what a file describes, beside what is deployed already."""
    with connected() as client:
        revision = client.create_revision(service, *read_manifest(file))
    if as_json:
        print_json(revision)
        return
    print(f"Created revision {revision.number} of service {service}.")
    for note in revision.notes:
        print_fields(("Note", note))
    print(f"Next: headrace revision read --service {service} -n {revision.number}")
    print(f"Then: headrace gateway update --service {service} -f GATEWAY.yaml")


@app.command("list")
def list_command(service: ServiceOption, as_json: JsonOption = False) -> None:
    """Show a service's revisions."""
    with connected() as client:
        revisions = client.revisions(service)
    if as_json:
        print_json(revisions)
        return
    print(f"{len(revisions)} revision(s) found.")
    for revision in revisions:
        print()
        print_fields(
            ("Number", revision.number),
            ("Status", revision.status),
            ("Message", revision.message or "(none)"),
        )


@app.command("read")
def read_command(service: ServiceOption, number: NumberOption, as_json: JsonOption = False) -> None:
    """Show a revision: how it runs, where, and how it is."""
    with connected() as client:
        revision = client.revision(service, number)
    if as_json:
        print_json(revision)
        return
    print_revision(revision)


@app.command("logs")
def logs_command(
    service: ServiceOption,
    number: NumberOption,
    replica_id: Annotated[
        str | None,
        typer.Option("--replica", help="Of which replica; the newest without it."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    num_lines: Annotated[
        int | None, typer.Option("--lines", min=0, help="The last so many; all without it.")
    ] = None,
) -> None:
    """Print what a replica of a revision printed."""
    with connected() as client:
        if replica_id is None:
            replicas = [one for one in client.replicas(service) if one.revision == number]
            if not replicas:
                raise ConflictError(f"Revision {number} of {service} has no replica yet.")
            replica_id = max(replicas, key=lambda one: one.created_at).replica_id
        write_log(client.replica_log(service, replica_id, follow=follow, num_lines=num_lines))


@app.command("terminate")
def terminate_command(service: ServiceOption, number: NumberOption) -> None:
    """Stop a revision for good. Its traffic goes elsewhere, and its open requests end first."""
    with connected() as client:
        terminated = client.terminate_revision(service, number)
    print(f"Terminating revision {number} of service {service}: open requests end first.")
    if terminated.note:
        print(terminated.note)
        print_gateway(terminated.gateway)
