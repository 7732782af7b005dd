"""``headrace run``: jobs that run once."""

import sys
from typing import Annotated

import typer

from headrace.cli.deploy.control_client import (
    FileOption,
    FollowOption,
    JsonOption,
    LimitOption,
    LinesOption,
    connected,
    print_json,
    read_manifest,
    write_log,
)
from headrace.cli.deploy.render.resources import (
    print_events,
    print_limit,
    show_gpu,
    show_port,
    show_time,
)
from headrace.cli.tables import print_fields, print_table

app = typer.Typer(name="run", help="Manage jobs that run once.", no_args_is_help=True)

RunArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Run id, as shown by `headrace run list`.")
]


@app.command("create")
def create_command(file: FileOption, as_json: JsonOption = False) -> None:
    """Create a run from a manifest.

    For example: headrace run create -f run.yaml
    It runs in the background; `headrace run logs ID -f` follows its log.
    """
    with connected() as client:
        run = client.create_run(*read_manifest(file))
    if as_json:
        print_json(run)
        return
    print(f"Created run '#{run.run_id}' ({run.name}).")
    for note in run.notes:
        print_fields(("Note", note))
    print(f"Next: headrace run read {run.run_id}; headrace run logs {run.run_id} -f")


@app.command("list")
def list_command(limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List runs, the newest last."""
    with connected() as client:
        runs = client.runs(limit=limit)
    if as_json:
        print_json(runs)
        return
    print(f"{len(runs)} run(s) found.")
    if not runs:
        print("Create one: headrace run create -f RUN.yaml")
        return
    print()
    print_table(
        ("ID", "Name", "Type", "Status", "Created", "Description"),
        (
            (run.run_id, run.name, run.type, run.state, show_time(run.created_at), run.description)
            for run in runs
        ),
    )
    print_limit(len(runs), limit)


@app.command("read")
def read_command(run_id: RunArgument, as_json: JsonOption = False) -> None:
    """Show a run's configuration, status and events."""
    with connected() as client:
        run = client.run(run_id)
        events = client.events(run_id=run_id, limit=20)
    if as_json:
        print_json(run)
        return
    print_fields(
        ("ID", run.run_id),
        ("Name", run.name),
        ("Description", run.description or "(none)"),
        ("Tags", ", ".join(run.tags) or "(none)"),
        ("Type", run.type),
        ("Status", run.state),
        ("Created", show_time(run.created_at)),
        ("Runs In", run.runs_in),
        ("Command", run.command.strip()),
        ("Folder", run.folder or "(none yet)"),
    )
    for port in run.ports:
        is_open = port.host_port is not None and port.type == "http"
        where = f"  http://127.0.0.1:{port.host_port}" if is_open else ""
        print_fields(("Port", f"{show_port(port)}{where}"))
    if run.gpus:
        print_fields(("GPUs", ", ".join(show_gpu(gpu) for gpu in run.gpus)))
    if run.exit_code is not None:
        print_fields(("Exit Code", run.exit_code))
    if run.cause:
        print_fields(("Cause", run.cause))
    if run.reproduced_from:
        print_fields(("Reproduces", f"#{run.reproduced_from}"))
    for note in run.notes:
        print_fields(("Note", note))
    print()
    print_events(events, of_one=True)


@app.command("logs")
def logs_command(
    run_id: RunArgument, follow: FollowOption = False, num_lines: LinesOption = None
) -> None:
    """Print the log of a run.

    For example: headrace run logs ID -f --lines 20
    """
    with connected() as client:
        num_bytes = write_log(client.run_log(run_id, follow=follow, num_lines=num_lines))
        if num_bytes == 0 and num_lines != 0:
            state = client.run(run_id).state
            hint = f"The log is empty. The run is {state}: headrace run read {run_id}"
            print(hint, file=sys.stderr)


@app.command("reproduce")
def reproduce_command(run_id: RunArgument, as_json: JsonOption = False) -> None:
    """Create a run with the same manifest as another one."""
    with connected() as client:
        run = client.reproduce_run(run_id)
    if as_json:
        print_json(run)
        return
    print(f"Created run '#{run.run_id}' ({run.name}), which reproduces '#{run_id}'.")
    print(f"Next: headrace run read {run.run_id}; headrace run logs {run.run_id} -f")


@app.command("terminate")
def terminate_command(run_id: RunArgument, as_json: JsonOption = False) -> None:
    """Terminate a run: SIGTERM, and SIGKILL after its grace_period. Its exports are kept."""
    with connected() as client:
        run = client.terminate_run(run_id)
    if as_json:
        print_json(run)
        return
    print(f"Terminated '#{run_id}'.")


@app.command("delete")
def delete_command(run_id: RunArgument) -> None:
    """Delete a finished run with its folder and log. Its exports are kept."""
    with connected() as client:
        client.delete_run(run_id)
    print(f"Deleted '#{run_id}' and its folder.")
