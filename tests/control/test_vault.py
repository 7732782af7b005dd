"""Secrets are sealed with a key that only its owner can read, and that never changes hands."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.control.errors import StoreError
from headrace.control.vault import Vault


def test_what_is_sealed_is_opened_by_the_same_key_file(tmp_path: Path) -> None:
    path = tmp_path / "control" / "secret.key"
    sealed = Vault.open(path).encrypt("hf_한글")
    assert b"hf_" not in sealed
    assert Vault.open(path).decrypt(sealed) == "hf_한글"


def test_the_same_text_is_never_sealed_alike(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "key")
    assert vault.encrypt("x") != vault.encrypt("x")


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    Vault.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    Vault.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["key"]


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    sealed = Vault.open(tmp_path / "one").encrypt("x")
    with pytest.raises(StoreError, match="another key than the one in"):
        Vault.open(tmp_path / "two").decrypt(sealed)


def test_a_damaged_key_is_told_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("half-a-key")
    with pytest.raises(StoreError, match="is damaged") as caught:
        Vault.open(path)
    assert "half-a-key" not in str(caught.value)
    with pytest.raises(StoreError, match="cannot be used"):
        Vault.open(path / "below-a-file")


def test_many_that_begin_at_once_have_one_key(tmp_path: Path) -> None:
    num_openers = 8
    barrier = threading.Barrier(num_openers)

    def open_it(_: int) -> Vault:
        barrier.wait(60)
        return Vault.open(tmp_path / "key")

    with ThreadPoolExecutor(num_openers) as pool:
        vaults = list(pool.map(open_it, range(num_openers)))
    sealed = vaults[0].encrypt("x")
    assert {vault.decrypt(sealed) for vault in vaults} == {"x"}


def test_a_vault_does_not_show_its_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    vault = Vault.open(path)
    assert path.read_text().strip() not in repr(vault)
