from pathlib import Path

import pytest

from headrace.control.errors import InvalidNameError
from headrace.control.operations.credentials import hash_credential
from headrace.control.operations.keys import DASHBOARD, dashboard_key
from headrace.control.operations.names import check_plain_name
from headrace.control.vault import Vault


def test_the_dashboards_key_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first = dashboard_key(Vault.open(tmp_path / "key"), "openllm")
    again = dashboard_key(Vault.open(tmp_path / "key"), "openllm")
    assert first.secret == again.secret
    assert first.key == again.key
    assert first.key.key_hash == hash_credential(first.secret)
    assert first.secret not in repr(first)


def test_each_service_and_each_installation_has_its_own_key(tmp_path: Path) -> None:
    one, other = Vault.open(tmp_path / "one"), Vault.open(tmp_path / "other")
    secrets = {
        dashboard_key(vault, service).secret for vault in (one, other) for service in ("a", "b")
    }
    assert len(secrets) == 4


def test_no_other_key_has_the_name_of_the_dashboards() -> None:
    with pytest.raises(InvalidNameError):
        check_plain_name(DASHBOARD, "a key")
