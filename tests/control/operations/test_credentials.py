"""Tokens, keys and secrets: shown once or never, kept as hashes or sealed."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from headrace.control.errors import ConflictError, InvalidNameError, NotFoundError, StoreError
from headrace.control.operations import keys, secrets, tokens
from headrace.control.operations.revisions import create_revision, terminate_revision
from headrace.control.operations.runs import create_run, terminate_run
from headrace.control.operations.services import create_service
from headrace.control.resources import Role, Token
from headrace.control.store.database import open_engine
from headrace.control.store.store import Store
from headrace.control.vault import Vault

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REVISION = "run: serve\nports: [3000]\nenv:\n  HF_TOKEN: {secret: hf}\n"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.open(tmp_path / "secret.key")


def everything_in(store: Store, url: str) -> str:
    """All that the database holds, as text."""
    engine = open_engine(url)
    with engine.connect() as connection:
        tables = ("services", "events", "tokens", "service_keys", "secrets", "revisions", "runs")
        rows = [connection.execute(text(f"SELECT * FROM {table}")).all() for table in tables]
    engine.dispose()
    return str([[[bytes(v) if isinstance(v, memoryview) else v for v in r] for r in t]
                for t in rows])  # fmt: skip


def test_a_token_is_shown_once_and_known_by_its_hash(store: Store, database_url: str) -> None:
    created = tokens.create_token(store, "ci", Role.VIEWER, NOW)
    assert created.secret.startswith("hrt_")
    assert created.token == Token("ci", Role.VIEWER, NOW)
    assert tokens.find_token(store, created.secret) == created.token
    assert tokens.find_token(store, created.secret[:-1]) is None
    assert tokens.find_token(store, "") is None
    assert tokens.find_token(store, "\udcff") is None
    assert tokens.list_tokens(store) == [created.token]
    assert created.secret not in repr(created)
    kept = everything_in(store, database_url)
    assert created.secret[4:] not in kept
    assert hashlib.sha256(created.secret.encode()).hexdigest() in kept


def test_tokens_differ(store: Store) -> None:
    made = {tokens.create_token(store, f"t{n}", Role.ADMIN, NOW).secret for n in range(5)}
    assert len(made) == 5


def test_a_replaced_token_is_void(store: Store) -> None:
    first = tokens.replace_token(store, "local", Role.ADMIN, NOW)
    second = tokens.replace_token(store, "local", Role.ADMIN, NOW)
    assert tokens.find_token(store, first.secret) is None
    assert tokens.find_token(store, second.secret) == second.token
    assert len(tokens.list_tokens(store)) == 1


def test_the_last_administrator_stays(store: Store) -> None:
    tokens.create_token(store, "root", Role.ADMIN, NOW)
    tokens.create_token(store, "ci", Role.VIEWER, NOW)
    with pytest.raises(ConflictError, match="last admin"):
        tokens.remove_token(store, "root", NOW)
    tokens.remove_token(store, "ci", NOW)
    tokens.create_token(store, "other", Role.ADMIN, NOW)
    tokens.remove_token(store, "root", NOW)
    with pytest.raises(NotFoundError, match="Token 'root' not found"):
        tokens.remove_token(store, "root", NOW)
    with pytest.raises(ConflictError, match="already a token 'other'"):
        tokens.create_token(store, "other", Role.ADMIN, NOW)
    with pytest.raises(InvalidNameError):
        tokens.create_token(store, "a b", Role.ADMIN, NOW)


def test_a_key_opens_one_service(store: Store, database_url: str) -> None:
    create_service(store, "openllm", NOW)
    created = keys.create_key(store, "openllm", "ci", NOW)
    assert created.secret.startswith("hrk_")
    assert created.key.prefix == created.secret[:8]
    assert created.key.key_hash == hashlib.sha256(created.secret.encode()).hexdigest()
    assert created.secret not in repr(created)
    assert keys.list_keys(store, "openllm") == [created.key]
    assert created.secret[8:] not in everything_in(store, database_url)
    with pytest.raises(ConflictError, match="already has a key 'ci'"):
        keys.create_key(store, "openllm", "ci", NOW)
    keys.remove_key(store, "openllm", "ci", NOW)
    with pytest.raises(NotFoundError, match="Key 'ci'"):
        keys.remove_key(store, "openllm", "ci", NOW)
    with store.read() as queries:
        assert [event.what for event in queries.events(service="openllm")] == [
            "created",
            "created",
            "deleted",
        ]


def test_keys_need_their_service(store: Store) -> None:
    for ask in (keys.create_key, keys.remove_key):
        with pytest.raises(NotFoundError, match="Service 'x' not found"):
            ask(store, "x", "ci", NOW)
    with pytest.raises(NotFoundError, match="Service 'x' not found"):
        keys.list_keys(store, "x")


def test_a_secret_is_kept_sealed(store: Store, vault: Vault, database_url: str) -> None:
    secrets.put_secret(store, vault, "hf", "hf_first", NOW)
    secrets.put_secret(store, vault, "hf", "hf_second", NOW)
    assert secrets.list_secrets(store) == ["hf"]
    assert secrets.read_secrets(store, vault, ["hf", "other"]) == {"hf": "hf_second"}
    kept = everything_in(store, database_url)
    assert "hf_first" not in kept
    assert "hf_second" not in kept
    with store.read() as queries:
        assert [event.what for event in queries.events()] == ["created", "updated"]


def test_a_lost_key_file_is_told_with_the_secrets_name(
    store: Store, vault: Vault, tmp_path: Path
) -> None:
    secrets.put_secret(store, vault, "hf", "x", NOW)
    with pytest.raises(StoreError, match="Secret 'hf' cannot be decrypted"):
        secrets.read_secrets(store, Vault.open(tmp_path / "other.key"), ["hf"])


def test_secrets_that_no_variable_can_hold_are_refused(store: Store, vault: Vault) -> None:
    for value in (
        "",
        "a\0b",
        "x" * (secrets.MAX_NUM_BYTES + 1),
        "é" * (secrets.MAX_NUM_BYTES // 2 + 1),
    ):
        with pytest.raises(InvalidNameError, match=r"[Ss]ecret 'hf'"):
            secrets.put_secret(store, vault, "hf", value, NOW)
    with pytest.raises(InvalidNameError, match="not a valid name for a secret"):
        secrets.put_secret(store, vault, "a b", "x", NOW)
    assert secrets.list_secrets(store) == []


def test_a_secret_stays_while_it_is_needed(store: Store, vault: Vault) -> None:
    with pytest.raises(NotFoundError, match="Secret 'hf' not found"):
        secrets.remove_secret(store, "hf", NOW)
    secrets.put_secret(store, vault, "hf", "x", NOW)
    create_service(store, "openllm", NOW)
    create_revision(store, "openllm", REVISION, "v.yaml", NOW)
    with pytest.raises(ConflictError, match="in use by revision 1 of service 'openllm'"):
        secrets.remove_secret(store, "hf", NOW)
    terminate_revision(store, "openllm", 1, NOW)
    run = create_run(store, "run: job\nenv:\n  A: {secret: hf}\n", "r.yaml", NOW)
    with pytest.raises(ConflictError, match=f"in use by run {run.run_id}"):
        secrets.remove_secret(store, "hf", NOW)
    terminate_run(store, run.run_id, NOW)
    secrets.remove_secret(store, "hf", NOW)
    assert secrets.list_secrets(store) == []
