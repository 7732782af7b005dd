"""Finds what somebody named, or says kindly that it is not there. Changes nothing."""

from headrace.control.errors import NotFoundError
from headrace.control.resources import Revision, Run, Service
from headrace.control.store.queries import Reading


def find_service(reading: Reading, name: str) -> Service:
    service = reading.service(name)
    if service is None:
        raise NotFoundError(
            f"There is no service '{name}'. Show all: headrace service list. "
            f"Make it: headrace service create {name}"
        )
    return service


def find_revision(reading: Reading, service: str, number: int) -> Revision:
    find_service(reading, service)
    revision = reading.revision(service, number)
    if revision is None:
        raise NotFoundError(
            f"Service '{service}' has no revision {number}. "
            f"Show all: headrace revision list --service {service}"
        )
    return revision


def find_run(reading: Reading, run_id: str) -> Run:
    run = reading.run(run_id)
    if run is None:
        raise NotFoundError(f"There is no run '{run_id}'. Show all: headrace run list")
    return run
