from datetime import UTC, datetime
from pathlib import Path

from headrace.control.operations.keys import create_key, dashboard_key
from headrace.control.replicas.backoff import Backoff
from headrace.control.replicas.crash_history import CrashHistory
from headrace.control.resources import ServiceKey
from headrace.control.snapshot import SpecCache, load_snapshot
from headrace.control.store.store import Store
from headrace.control.traffic.routing import RouteFile
from headrace.control.traffic.traffic import Traffic
from headrace.control.vault import Vault
from headrace.testing.example_services import add_example_service

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_service_with_keys_accepts_the_dashboards_too(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/state.db")
    vault = Vault.open(tmp_path / "key")
    for name in ("open", "closed"):
        add_example_service(store, name, NOW)
    key = create_key(store, "closed", "ci", NOW).key

    def key_of(service: str) -> ServiceKey:
        return dashboard_key(vault, service).key

    routes = tmp_path / "routes.json"
    traffic = Traffic(store, SpecCache(), CrashHistory(Backoff()), routes, lambda: NOW, key_of)
    assert traffic.run_pass(load_snapshot(store))
    table = RouteFile(routes).read()
    assert table is not None
    hashes = {service.name: set(service.key_hashes) for service in table.services}
    assert hashes == {"open": set(), "closed": {key.key_hash, key_of("closed").key_hash}}
    assert not traffic.run_pass(load_snapshot(store))
    store.close()
