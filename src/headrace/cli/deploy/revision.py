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
from headrace.cli.deploy.render import print_gateway, print_limit, print_revision
from headrace.cli.tables import print_fields
from headrace.control.errors import ConflictError

app = typer.Typer(name="revision", help="Create and look at revisions.", no_args_is_help=True)


@app.command("create")
def create_command(service: ServiceOption, file: FileOption, as_json: JsonOption = False) -> None:
    """Deploy what a file describes, beside what is deployed already.

    For example: headrace revision create -s openllm -f revision.yaml
    It gets no traffic before `headrace gateway update` sends it some.
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
    """Show a service's revisions."""
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
        typer.Option("--replica", metavar="ID", help="Of which replica; the newest without it."),
    ] = None,
    follow: FollowOption = False,
    num_lines: LinesOption = None,
) -> None:
    """Print what a replica of a revision printed.

    For example: headrace revision logs -s openllm -n 1 -f --lines 20
    `headrace revision read` shows the replicas that run, for --replica.
    """
    with connected() as client:
        if replica_id is None:
            newest = client.replicas(service, revision=number, limit=1)
            if not newest:
                client.revision(service, number)  # or there is no such revision
                raise ConflictError(f"Revision {number} of {service} has no replica yet.")
            replica_id = newest[0].replica_id
        write_log(client.replica_log(service, replica_id, follow=follow, num_lines=num_lines))


@app.command("terminate")
def terminate_command(
    service: ServiceOption, number: NumberOption, as_json: JsonOption = False
) -> None:
    """Stop a revision for good. Its traffic goes elsewhere, and its open requests end first."""
    with connected() as client:
        terminated = client.terminate_revision(service, number)
    if as_json:
        print_json(terminated)
        return
    print(f"Terminating revision {number} of service {service}: open requests end first.")
    if terminated.note:
        print(terminated.note)
        print_gateway(terminated.gateway)
