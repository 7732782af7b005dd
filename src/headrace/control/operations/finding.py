"""Looks up resources by name. Raises NotFoundError with the command that lists them."""

from headrace.control.errors import NotFoundError
from headrace.control.resources import Revision, Run, Service
from headrace.control.store.queries import Queries


def find_service(queries: Queries, name: str) -> Service:
    service = queries.service(name)
    if service is None:
        raise NotFoundError(
            f"Service '{name}' not found. List services: headrace service list. "
            f"Create it: headrace service create {name}"
        )
    return service


def find_revision(queries: Queries, service: str, number: int) -> Revision:
    find_service(queries, service)
    revision = queries.revision(service, number)
    if revision is None:
        raise NotFoundError(
            f"Revision {number} of service '{service}' not found. "
            f"List revisions: headrace revision list --service {service}"
        )
    return revision


def find_run(queries: Queries, run_id: str) -> Run:
    run = queries.run(run_id)
    if run is None:
        raise NotFoundError(f"Run '{run_id}' not found. List runs: headrace run list")
    return run
