"""Secrets: stored encrypted, passed to processes by name, never returned by the API."""

from collections.abc import Collection, Mapping
from datetime import datetime

from headrace.control.errors import ConflictError, InvalidNameError, NotFoundError, StoreError
from headrace.control.manifests.fields.env import EnvValue
from headrace.control.manifests.fields.env import secret_names as names_in
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.manifests.parsing.validate import ManifestDocument, SpecT
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec
from headrace.control.operations import BY_API
from headrace.control.operations.names import check_plain_name
from headrace.control.resources import Event, EventReason, RevisionPhase
from headrace.control.store.columns import storable
from headrace.control.store.queries import Queries
from headrace.control.store.store import Store
from headrace.control.vault import Vault

MAX_NUM_BYTES = 64 * 1024
"""Half of Linux's limit for one variable."""


def put_secret(store: Store, vault: Vault, name: str, value: str, now: datetime) -> None:
    """Create or replace it. Running processes keep the value that they started with."""
    check_plain_name(name, "a secret")
    if not value:
        raise InvalidNameError(f"The value of secret '{name}' is empty.")
    if storable(value) != value or len(value.encode()) > MAX_NUM_BYTES:
        raise InvalidNameError(
            f"Secret '{name}' is not a valid environment variable: it contains a NUL or a lone "
            f"surrogate, or has more than {MAX_NUM_BYTES} bytes."
        )
    ciphertext = vault.encrypt(value)
    with store.begin() as tx:
        what = EventReason.CREATED if tx.secret(name) is None else EventReason.UPDATED
        tx.put_secret(name, ciphertext, now)
        tx.add_event(_event(name, what, now))


def list_secrets(store: Store) -> list[str]:
    """Their names."""
    with store.read() as queries:
        return queries.secret_names()


def read_secrets(store: Store, vault: Vault, names: Collection[str]) -> Mapping[str, str]:
    """The plaintext values by name. Unknown names are left out."""
    with store.read() as queries:
        ciphertexts = {name: queries.secret(name) for name in names}
    values: dict[str, str] = {}
    for name, ciphertext in ciphertexts.items():
        if ciphertext is None:
            continue
        try:
            values[name] = vault.decrypt(ciphertext)
        except StoreError as error:
            raise StoreError(f"Secret '{name}' cannot be decrypted. {error}") from None
    return values


def remove_secret(store: Store, name: str, now: datetime) -> None:
    """Raises ConflictError while an active revision or an open run uses it."""
    with store.begin() as tx:
        if tx.secret(name) is None:
            raise _not_found(name)
        user = _user_of(tx, name)
        if user is not None:
            raise ConflictError(f"Secret '{name}' is in use by {user}. Terminate it first.")
        tx.remove_secret(name)
        tx.add_event(_event(name, EventReason.DELETED, now))


def check_secrets(
    queries: Queries, manifest: ManifestDocument[SpecT], env: Mapping[str, EnvValue]
) -> None:
    """Raises ManifestError for each variable whose secret does not exist."""
    known = set(queries.secret_names())
    problems = [
        manifest.problem(
            ("env", variable, "secret"),
            f"secret '{value.secret}' not found; create it with "
            f"`headrace secret create {value.secret}`",
        )
        for variable, value in env.items()
        if value.secret is not None and value.secret not in known
    ]
    if problems:
        raise ManifestError(problems)


def _user_of(queries: Queries, name: str) -> str | None:
    for revision in queries.revisions(live_only=True):
        if revision.phase is not RevisionPhase.ACTIVE:
            continue
        if name in names_in(read_stored(RevisionSpec, revision.spec).env):
            return f"revision {revision.number} of service '{revision.service}'"
    for run in queries.runs(open_only=True):
        if name in names_in(read_stored(RunSpec, run.spec).env):
            return f"run {run.run_id}"
    return None


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(f"Secret '{name}' not found. List secrets: headrace secret list")


def _event(name: str, what: EventReason, now: datetime) -> Event:
    return Event(now, f"secret {name}", what, BY_API)
