"""``headrace gateway``: where a service's traffic goes."""

import typer

from headrace.cli.deploy.control_client import (
    FileOption,
    JsonOption,
    ServiceOption,
    connected,
    print_json,
    read_manifest,
)
from headrace.cli.deploy.render import print_gateway

app = typer.Typer(
    name="gateway", help="Split a service's traffic between revisions.", no_args_is_help=True
)


@app.command("update")
def update_command(service: ServiceOption, file: FileOption, as_json: JsonOption = False) -> None:
    """Send traffic where a file says. It moves once those revisions are ready to take it.

    For example: headrace gateway update -s openllm -f gateway.yaml
    The file replaces all that was asked for before.
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
        print(f"\nWhat happened: headrace service events {service}")
    elif gateway.enabled and gateway.endpoint:
        print(f"\nTry it: curl {gateway.endpoint}/v1/models")


@app.command("read")
def read_command(service: ServiceOption, as_json: JsonOption = False) -> None:
    """Show where a service's traffic goes."""
    with connected() as client:
        gateway = client.gateway(service)
    if as_json:
        print_json(gateway)
        return
    print_gateway(gateway)
