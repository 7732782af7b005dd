"""``headrace revision``: immutable versions of a service."""

from typing import Annotated

import typer

from headrace.cli.deploy.control_client import (
    FileOption,
    FollowOption,
    JsonOption,
    LimitOption,
    LinesOption,
    NumberOption,
    ServiceOption,
    connected,
    print_json,
    read_manifest,
    write_log,
)
from headrace.cli.deploy.render.resources import print_gateway, print_limit, print_revision
from headrace.cli.tables import print_fields
from headrace.control.errors import ConflictError

app = typer.Typer(name="revision", help="Manage revisions of a service.", no_args_is_help=True)


@app.command("create")
def create_command(service: ServiceOption, file: FileOption, as_json: JsonOption = False) -> None:
    """Create a revision from a manifest.

    For example: headrace revision create -s openllm -f revision.yaml
    It gets traffic after `headrace gateway update`.
    """
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
def list_command(
    service: ServiceOption, limit: LimitOption = 100, as_json: JsonOption = False
) -> None:
    """List a service's revisions."""
    with connected() as client:
        revisions = client.revisions(service, limit=limit)
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
    print_limit(len(revisions), limit)


@app.command("read")
def read_command(service: ServiceOption, number: NumberOption, as_json: JsonOption = False) -> None:
    """Show a revision's configuration, placement and status."""
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
        typer.Option("--replica", metavar="ID", help="Replica id (default: the newest)."),
    ] = None,
    follow: FollowOption = False,
    num_lines: LinesOption = None,
) -> None:
    """Print the log of a replica.

    For example: headrace revision logs -s openllm -n 1 -f --lines 20
    `headrace revision read` lists the replicas.
    """
    with connected() as client:
        if replica_id is None:
            newest = client.replicas(service, revision=number, limit=1)
            if not newest:
                client.revision(service, number)  # raises if the revision does not exist
                raise ConflictError(f"Revision {number} of service {service} has no replica yet.")
            replica_id = newest[0].replica_id
        write_log(client.replica_log(service, replica_id, follow=follow, num_lines=num_lines))


@app.command("terminate")
def terminate_command(
    service: ServiceOption, number: NumberOption, as_json: JsonOption = False
) -> None:
    """Terminate a revision permanently.

    Its traffic moves to the other targets, and its open requests finish first.
    """
    with connected() as client:
        terminated = client.terminate_revision(service, number)
    if as_json:
        print_json(terminated)
        return
    print(f"Terminating revision {number} of service {service}: open requests end first.")
    if terminated.note:
        print(terminated.note)
        print_gateway(terminated.gateway)
