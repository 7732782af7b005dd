"""Tokens that open the control plane's API. Each is shown once; only its hash is kept."""

from dataclasses import dataclass, field
from datetime import datetime

from headrace.control.errors import ConflictError, NotFoundError
from headrace.control.operations.credentials import hash_credential, new_credential
from headrace.control.operations.names import check_plain_name
from headrace.control.resources import Event, Role, Token
from headrace.control.store.queries import Queries
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction

_KIND = "hrt"


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token and, this once, what to send."""

    token: Token
    secret: str = field(repr=False)


def create_token(store: Store, name: str, role: Role, now: datetime) -> NewToken:
    check_plain_name(name, "a token")
    with store.begin() as tx:
        return _add(tx, name, role, now, f"Asked for, as {role}.")


def replace_token(store: Store, name: str, role: Role, now: datetime) -> NewToken:
    """A new one in the place of the one of that name, if there is one; the old one is void."""
    check_plain_name(name, "a token")
    with store.begin() as tx:
        tx.remove_token(name)
        return _add(tx, name, role, now, "The control plane started.")


def list_tokens(store: Store) -> list[Token]:
    """By name."""
    with store.read() as queries:
        return queries.tokens()


def find_token(store: Store, secret: str) -> Token | None:
    """Whose it is; None if nobody's."""
    with store.read() as queries:
        return queries.token_by_hash(hash_token(secret))


def remove_token(store: Store, name: str, now: datetime) -> None:
    with store.begin() as tx:
        if _is_last_administrator(tx, name):
            raise ConflictError(
                f"'{name}' is the last administrator's token; make another one first: "
                "headrace token create NAME --role admin"
            )
        if not tx.remove_token(name):
            raise NotFoundError(f"There is no token '{name}'. Show all: headrace token list")
        tx.add_event(_event(name, "removed", "Asked for.", now))


def hash_token(secret: str) -> str:
    """By which a token is known again."""
    return hash_credential(secret)


def _add(tx: Transaction, name: str, role: Role, now: datetime, why: str) -> NewToken:
    secret = new_credential(_KIND)
    token = Token(name, role, now)
    tx.add_token(token, hash_token(secret))
    tx.add_event(_event(name, "created", why, now))
    return NewToken(token, secret)


def _is_last_administrator(queries: Queries, name: str) -> bool:
    return [token.name for token in queries.tokens() if token.role is Role.ADMIN] == [name]


def _event(name: str, what: str, why: str, now: datetime) -> Event:
    return Event(now, f"token {name}", what, why)
