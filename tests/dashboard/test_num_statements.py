"""The cost of a page does not grow with the number of resources."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import event
from starlette.testclient import TestClient

from headrace.testing.example_services import add_example_history, add_example_service
from headrace.testing.processes.control_api import ControlApi

PAGES = [
    "/dashboard/services",
    "/dashboard/services/svc-0",
    "/dashboard/services/svc-0/metrics/data",
    "/dashboard/services/svc-0/revisions",
    "/dashboard/services/svc-0/revisions/4",
    "/dashboard/services/svc-0/replicas",
    "/dashboard/services/svc-0/traffic",
    "/dashboard/services/svc-0/events",
]


@contextmanager
def counted_statements(api: ControlApi) -> Iterator[Callable[[], int]]:
    statements: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        statements.append(statement)

    engine = api.store._engine
    event.listen(engine, "before_cursor_execute", note)
    yield lambda: len(statements)
    event.remove(engine, "before_cursor_execute", note)


def statements_by_page(api: ControlApi, client: TestClient) -> dict[str, int]:
    numbers = {}
    for path in PAGES:
        with counted_statements(api) as count:
            assert client.get(path).status_code == 200
            numbers[path] = count()
    return numbers


def test_pages_need_a_constant_number_of_statements(api: ControlApi, admin: TestClient) -> None:
    now = api.context.now()
    add_example_service(api.store, "svc-0", now, num_revisions=4, num_events=2)
    add_example_history(api.store, "svc-0", (3, 4), now)
    _add_starting_revisions(api, 1)
    few = statements_by_page(api, admin)
    assert all(0 < number <= 20 for number in few.values()), few
    for number in range(1, 12):
        add_example_service(api.store, f"svc-{number}", now, num_revisions=3, num_events=20)
    _add_starting_revisions(api, 30)
    add_example_history(api.store, "svc-0", range(5, 15), now)
    many = statements_by_page(api, admin)
    assert many == few


def _add_starting_revisions(api: ControlApi, num: int) -> None:
    with api.store.begin() as tx:
        for _ in range(num):
            tx.add_revision("svc-0", {"run": "true", "ports": [8000]}, 1, api.context.now())


def test_the_list_of_revisions_needs_a_constant_number_of_statements(api: ControlApi) -> None:
    client, now = api.client(api.admin_token), api.context.now()
    add_example_service(api.store, "svc-0", now, num_revisions=3)
    _add_starting_revisions(api, 1)
    numbers = []
    for _ in range(2):
        with counted_statements(api) as count:
            assert client.get("/v1/services/svc-0/revisions").status_code == 200
            numbers.append(count())
        _add_starting_revisions(api, 30)
    assert numbers[0] == numbers[1]
