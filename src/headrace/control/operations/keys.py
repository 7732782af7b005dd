"""API keys of services. A key is returned once; only its hash is stored."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from headrace.control.errors import NotFoundError
from headrace.control.operations import BY_API
from headrace.control.operations.credentials import (
    hash_credential,
    new_credential,
    shown_prefix,
)
from headrace.control.operations.finding import find_service
from headrace.control.operations.names import check_plain_name
from headrace.control.resources import Event, EventReason, ServiceKey
from headrace.control.store.store import Store
from headrace.control.vault import Vault

DASHBOARD = "(dashboard)"
"""The name of `dashboard_key`, which no other key can have."""

_KIND = "hrk"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key with its secret."""

    key: ServiceKey
    secret: str = field(repr=False)


def create_key(store: Store, service: str, name: str, now: datetime) -> NewKey:
    """With its first key, a service starts to require one."""
    check_plain_name(name, "a key")
    secret = new_credential(_KIND)
    key = ServiceKey(service, name, hash_credential(secret), shown_prefix(secret), now)
    with store.begin() as tx:
        find_service(tx, service)
        tx.add_service_key(key)
        tx.add_event(_event(service, name, EventReason.CREATED, now))
    return NewKey(key, secret)


def dashboard_key(vault: Vault, service: str) -> NewKey:
    """With which the dashboard sends requests to a service that requires a key.

    Derived and not stored, so that it survives restarts, and cannot be listed or revoked.
    """
    secret = f"{_KIND}_{vault.derive(f'dashboard key of service {service}')}"
    hashed = hash_credential(secret)
    return NewKey(ServiceKey(service, DASHBOARD, hashed, shown_prefix(secret), _NEVER), secret)


def list_keys(store: Store, service: str) -> list[ServiceKey]:
    """By name."""
    with store.read() as queries:
        find_service(queries, service)
        return queries.service_keys(service)


def remove_key(store: Store, service: str, name: str, now: datetime) -> None:
    """Without keys, a service requires none."""
    with store.begin() as tx:
        find_service(tx, service)
        if not tx.remove_service_key(service, name):
            raise NotFoundError(
                f"Key '{name}' of service '{service}' not found. "
                f"List keys: headrace service key list --service {service}"
            )
        tx.add_event(_event(service, name, EventReason.DELETED, now))


def _event(service: str, name: str, what: EventReason, now: datetime) -> Event:
    return Event(now, f"key {service}/{name}", what, BY_API, service=service)
