"""Tokens of the control plane's API. A token is returned once; only its hash is stored."""

from dataclasses import dataclass, field
from datetime import datetime

from headrace.control.errors import ConflictError, NotFoundError
from headrace.control.operations import BY_API
from headrace.control.operations.credentials import hash_credential, new_credential
from headrace.control.operations.names import check_plain_name
from headrace.control.resources import Event, EventReason, Role, Token
from headrace.control.store.queries import Queries
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction

_KIND = "hrt"


@dataclass(frozen=True, slots=True)
class NewToken:
    """A new token with its secret."""

    token: Token
    secret: str = field(repr=False)


def create_token(store: Store, name: str, role: Role, now: datetime) -> NewToken:
    check_plain_name(name, "a token")
    with store.begin() as tx:
        return _add(tx, name, role, now, f"{BY_API} Role: {role}.")


def replace_token(store: Store, name: str, role: Role, now: datetime) -> NewToken:
    """Create a token, and revoke the one of the same name if there is one."""
    check_plain_name(name, "a token")
    with store.begin() as tx:
        tx.remove_token(name)
        return _add(tx, name, role, now, "The control plane started.")


def list_tokens(store: Store) -> list[Token]:
    """By name."""
    with store.read() as queries:
        return queries.tokens()


def find_token(store: Store, secret: str) -> Token | None:
    """The token with this secret; None if it is unknown."""
    return find_token_by_hash(store, hash_token(secret))


def find_token_by_hash(store: Store, token_hash: str) -> Token | None:
    """The token whose secret has this hash; None if it is unknown."""
    with store.read() as queries:
        return queries.token_by_hash(token_hash)


def remove_token(store: Store, name: str, now: datetime) -> None:
    with store.begin() as tx:
        if _is_last_administrator(tx, name):
            raise ConflictError(
                f"'{name}' is the last admin token. Create another one first: "
                "headrace token create NAME --role admin"
            )
        if not tx.remove_token(name):
            raise NotFoundError(f"Token '{name}' not found. List tokens: headrace token list")
        tx.add_event(_event(name, EventReason.DELETED, BY_API, now))


def hash_token(secret: str) -> str:
    """The hash that the store has."""
    return hash_credential(secret)


def _add(tx: Transaction, name: str, role: Role, now: datetime, why: str) -> NewToken:
    secret = new_credential(_KIND)
    token = Token(name, role, now)
    tx.add_token(token, hash_token(secret))
    tx.add_event(_event(name, EventReason.CREATED, why, now))
    return NewToken(token, secret)


def _is_last_administrator(queries: Queries, name: str) -> bool:
    return [token.name for token in queries.tokens() if token.role is Role.ADMIN] == [name]


def _event(name: str, what: EventReason, why: str, now: datetime) -> Event:
    return Event(now, f"token {name}", what, why)
