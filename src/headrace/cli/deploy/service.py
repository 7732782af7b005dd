"""``headrace service``: names that requests are sent to, and the keys that open them."""

from typing import Annotated

import typer

from headrace.cli.deploy.control_client import (
    JsonOption,
    LimitOption,
    ServiceOption,
    connected,
    print_json,
)
from headrace.cli.deploy.render import print_events, print_gateway, print_limit, show_time
from headrace.cli.tables import print_table
from headrace.core.errors import HeadraceError

app = typer.Typer(name="service", help="Create and look at services.", no_args_is_help=True)
keys = typer.Typer(name="key", help="API keys that open a service.", no_args_is_help=True)
app.add_typer(keys)

NameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The service.", show_default=False)
]
NameOption = Annotated[
    str | None, typer.Option("--service", "--serving", "-s", metavar="NAME", hidden=True)
]


@app.command("create")
def create_command(
    name: NameArgument = None, option: NameOption = None, as_json: JsonOption = False
) -> None:
    """Make a service. Nothing is served before it has a revision and a gateway.

    For example: headrace service create openllm
    Its name is a part of its address: http://openllm.localhost:8080
    """
    with connected() as client:
        service = client.create_service(_name(name, option))
    if as_json:
        print_json(service)
        return
    print(f"Created service {service.name}.")
    print(f"Next: headrace revision create --service {service.name} -f REVISION.yaml")


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """Show all services."""
    with connected() as client:
        services = client.services()
    if as_json:
        print_json(services)
        return
    print(f"{len(services)} service(s) found.")
    if not services:
        print("Create one: headrace service create NAME")
        return
    print()
    print_table(
        ("Name", "Enabled", "Status", "Revisions", "Created", "Endpoint"),
        (
            (
                service.name,
                str(service.gateway.enabled),
                service.gateway.status,
                str(service.num_revisions),
                show_time(service.created_at),
                service.gateway.endpoint or "(not set)",
            )
            for service in services
        ),
    )


@app.command("read")
def read_command(
    name: NameArgument = None, option: NameOption = None, as_json: JsonOption = False
) -> None:
    """Show where a service is reached and where its traffic goes."""
    with connected() as client:
        service = client.service(_name(name, option))
    if as_json:
        print_json(service)
        return
    print_gateway(service.gateway)


@app.command("delete")
def delete_command(name: NameArgument = None, option: NameOption = None) -> None:
    """Remove a service all of whose revisions have been terminated."""
    with connected() as client:
        service = _name(name, option)
        client.delete_service(service)
    print(f"Deleted service {service}.")


@app.command("events")
def events_command(
    name: NameArgument = None,
    option: NameOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to a service, and why."""
    with connected() as client:
        service = _name(name, option)
        events = client.events(service=service, limit=limit)
        if not events:
            client.service(service)  # or there is no such service
    if as_json:
        print_json(events)
        return
    print_events(events)
    print_limit(len(events), limit)


@keys.command("create")
def create_key_command(
    service: ServiceOption,
    name: Annotated[
        str, typer.Argument(metavar="KEY_NAME", help="What the key is for.")
    ] = "default",
    as_json: JsonOption = False,
) -> None:
    """Make an API key. From the first one on, the service is closed to all who have none.

    For example: headrace service key create -s openllm laptop
    The key is shown this once.
    """
    with connected() as client:
        key = client.create_key(service, name)
    if as_json:
        print_json(key)
        return
    print(f"Key '{key.name}' of service {key.service}, shown this once:")
    print(key.key)
    print("Send it as: Authorization: Bearer KEY")


@keys.command("list")
def list_keys_command(service: ServiceOption, as_json: JsonOption = False) -> None:
    """Show which keys open a service."""
    with connected() as client:
        found = client.keys(service)
    if as_json:
        print_json(found)
        return
    print(f"{len(found)} key(s) found." + ("" if found else " The service is open to all."))
    if found:
        print()
        print_table(
            ("Name", "Begins With", "Created"),
            ((key.name, key.prefix, show_time(key.created_at)) for key in found),
        )


@keys.command("delete")
def delete_key_command(
    service: ServiceOption,
    name: Annotated[str, typer.Argument(metavar="KEY_NAME", help="The key's name.")],
) -> None:
    """Make a key useless. With the last one gone, the service is open to all."""
    with connected() as client:
        client.delete_key(service, name)
        num_left = len(client.keys(service))
    print(f"Deleted key '{name}' of service {service}.")
    if num_left == 0:
        print(f"Service {service} has no keys any more: it is open to all who reach it.")


def _name(argument: str | None, option: str | None) -> str:
    if argument and option and argument != option:
        raise HeadraceError(f"Two services are named, {argument} and {option}; name one.")
    name = argument or option
    if not name:
        raise HeadraceError("Name the service, such as in `headrace service read openllm`.")
    return name
