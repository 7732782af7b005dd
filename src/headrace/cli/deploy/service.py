"""``headrace service``: services and their API keys."""

from typing import Annotated, Literal

import typer

from headrace.cli.deploy.control_client import (
    MAX_NUMBER,
    JsonOption,
    LimitOption,
    ServiceOption,
    connected,
    print_json,
)
from headrace.cli.deploy.render.history import print_history
from headrace.cli.deploy.render.requests import print_request, print_requests
from headrace.cli.deploy.render.resources import print_events, print_gateway, print_limit, show_time
from headrace.cli.tables import print_table
from headrace.core.errors import InvalidInputError

app = typer.Typer(name="service", help="Manage services and their API keys.", no_args_is_help=True)
keys = typer.Typer(name="key", help="Manage API keys of a service.", no_args_is_help=True)
app.add_typer(keys)

NameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Service name.", show_default=False)
]
NameOption = Annotated[
    str | None, typer.Option("--service", "--serving", "-s", metavar="NAME", hidden=True)
]


@app.command("create")
def create_command(
    name: NameArgument = None, option: NameOption = None, as_json: JsonOption = False
) -> None:
    """Create a service. It serves requests once it has a revision and a gateway.

    For example: headrace service create openllm
    Its name is part of its address: http://openllm.localhost:8080
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
    """List all services."""
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
    """Show a service's endpoint, status and targets."""
    with connected() as client:
        service = client.service(_name(name, option))
    if as_json:
        print_json(service)
        return
    print_gateway(service.gateway)


@app.command("delete")
def delete_command(name: NameArgument = None, option: NameOption = None) -> None:
    """Delete a service. All its revisions must be terminated."""
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
    """List the events of a service."""
    with connected() as client:
        service = _name(name, option)
        events = client.events(service=service, limit=limit)
        if not events:
            client.service(service)  # raises if the service does not exist
    if as_json:
        print_json(events)
        return
    print_events(events)
    print_limit(len(events), limit)


@app.command("stats")
def stats_command(
    name: NameArgument = None,
    option: NameOption = None,
    period: Annotated[
        Literal["hour", "day", "month"],
        typer.Option("--period", help="Averages over 15 seconds, 5 minutes or an hour."),
    ] = "hour",
    as_json: JsonOption = False,
) -> None:
    """Show the latest metrics of a service's revisions.

    For example: headrace service stats openllm
    With --json, all values of the last hour, day or month.
    """
    with connected() as client:
        history = client.history(_name(name, option), period)
    if as_json:
        print_json(history)
        return
    print_history(history)


@app.command("requests")
def requests_command(
    name: NameArgument = None,
    option: NameOption = None,
    limit: LimitOption = 50,
    revision: Annotated[
        int | None,
        typer.Option(
            "--revision",
            "-n",
            metavar="NUMBER",
            min=1,
            max=MAX_NUMBER,
            help="Only those of this revision.",
            show_default=False,
        ),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help="Only those with this status, such as 404 or 5xx.",
            show_default=False,
        ),
    ] = None,
    record_id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="ID", help="Show this request, with its timeline.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the last requests to a service, without their text.

    The gateway stores the last 1,000 of all services.
    """
    with connected() as client:
        service = _name(name, option)
        if record_id is not None:
            request = client.request(record_id)
        else:
            requests = client.requests(
                service=service, revision=revision, status=status, limit=limit
            )
    if record_id is not None:
        if as_json:
            print_json(request)
        else:
            print_request(request)
        return
    if as_json:
        print_json(requests)
        return
    print_requests(requests)
    print_limit(len(requests), limit)


@keys.command("create")
def create_key_command(
    service: ServiceOption,
    name: Annotated[str, typer.Argument(metavar="KEY_NAME", help="Key name.")] = "default",
    as_json: JsonOption = False,
) -> None:
    """Create an API key. With its first key, the service starts to require one.

    For example: headrace service key create -s openllm laptop
    The key is shown only once.
    """
    with connected() as client:
        key = client.create_key(service, name)
    if as_json:
        print_json(key)
        return
    print(f"Key '{key.name}' of service {key.service} (shown only once):")
    print(key.key)
    print("Send it as: Authorization: Bearer KEY")


@keys.command("list")
def list_keys_command(service: ServiceOption, as_json: JsonOption = False) -> None:
    """List the API keys of a service."""
    with connected() as client:
        found = client.keys(service)
    if as_json:
        print_json(found)
        return
    print(f"{len(found)} key(s) found." + ("" if found else " The service requires no key."))
    if found:
        print()
        print_table(
            ("Name", "Begins With", "Created"),
            ((key.name, key.prefix, show_time(key.created_at)) for key in found),
        )


@keys.command("delete")
def delete_key_command(
    service: ServiceOption,
    name: Annotated[str, typer.Argument(metavar="KEY_NAME", help="Key name.")],
) -> None:
    """Revoke an API key. Without keys, the service requires none."""
    with connected() as client:
        client.delete_key(service, name)
        num_left = len(client.keys(service))
    print(f"Deleted key '{name}' of service {service}.")
    if num_left == 0:
        print(f"Service {service} has no keys: it now accepts requests without one.")


def _name(argument: str | None, option: str | None) -> str:
    if argument and option and argument != option:
        raise InvalidInputError(f"Two services given, {argument} and {option}. Give one.")
    name = argument or option
    if not name:
        raise InvalidInputError("Missing service name, as in `headrace service read openllm`.")
    return name
