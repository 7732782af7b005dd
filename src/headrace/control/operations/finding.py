"""Finds what somebody named, or says kindly that it is not there. Changes nothing."""

from headrace.control.errors import NotFoundError
from headrace.control.resources import Revision, Run, Service
from headrace.control.store.queries import Queries


def find_service(queries: Queries, name: str) -> Service:
    service = queries.service(name)
    if service is None:
        raise NotFoundError(
            f"There is no service '{name}'. Show all: headrace service list. "
            f"Make it: headrace service create {name}"
        )
    return service


def find_revision(queries: Queries, service: str, number: int) -> Revision:
    find_service(queries, service)
    revision = queries.revision(service, number)
    if revision is None:
        raise NotFoundError(
            f"Service '{service}' has no revision {number}. "
            f"Show all: headrace revision list --service {service}"
        )
    return revision


def find_run(queries: Queries, run_id: str) -> Run:
    run = queries.run(run_id)
    if run is None:
        raise NotFoundError(f"There is no run '{run_id}'. Show all: headrace run list")
    return run
