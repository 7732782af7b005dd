"""``headrace gateway``: the traffic of a service."""

import typer

from headrace.cli.deploy.control_client import (
    FileOption,
    JsonOption,
    ServiceOption,
    connected,
    print_json,
    read_manifest,
)
from headrace.cli.deploy.render.resources import print_gateway

app = typer.Typer(name="gateway", help="Manage the traffic of a service.", no_args_is_help=True)


@app.command("update")
def update_command(service: ServiceOption, file: FileOption, as_json: JsonOption = False) -> None:
    """Update a service's targets from a manifest. Traffic moves once they are ready.

    For example: headrace gateway update -s openllm -f gateway.yaml
    The manifest replaces the whole configuration.
    """
    with connected() as client:
        gateway = client.update_gateway(service, *read_manifest(file))
    if as_json:
        print_json(gateway)
        return
    print(f"Successfully updated the gateway of service {service}.")
    print()
    print_gateway(gateway)
    if gateway.status == "failed":
        print(f"\nSee the events: headrace service events {service}")
    elif gateway.enabled and gateway.endpoint:
        print(f"\nTry it: curl {gateway.endpoint}/v1/models")


@app.command("read")
def read_command(service: ServiceOption, as_json: JsonOption = False) -> None:
    """Show a service's targets, status and endpoint."""
    with connected() as client:
        gateway = client.gateway(service)
    if as_json:
        print_json(gateway)
        return
    print_gateway(gateway)
