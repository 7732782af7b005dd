"""Keys are compared by their hashes."""

import hashlib

import pytest

from headrace.gateway.keys import KeySet, hash_key


def test_the_hash_follows_the_documented_format():
    assert hash_key(b"secret") == hashlib.sha256(b"secret").hexdigest()


@pytest.mark.parametrize(
    ("authorization", "is_admitted"),
    [
        (b"Bearer secret", True),
        (b"bearer  secret ", True),
        (b"BEARER other", True),
        (b"secret", True),
        (b"Bearer secre", False),
        (b"Bearer secret2", False),
        (b"Bearer", False),
        (b"Bearer ", False),
        (b"Basic secret", False),
        (b"", False),
        (None, False),
    ],
)
def test_only_valid_keys_are_admitted(authorization, is_admitted):
    keys = KeySet([hash_key(b"secret"), hash_key(b"other").upper()])
    assert keys.admits(authorization) is is_admitted


def test_without_keys_all_clients_are_admitted():
    assert KeySet(()).admits(None)
    assert KeySet(()).admits(b"Bearer anything")


def test_keys_are_not_disclosed():
    keys = KeySet([hash_key(b"secret")])
    keys.admits(b"Bearer secret")
    assert "secret" not in repr(keys)


def test_a_key_is_known_by_its_name():
    hashes = [hash_key(b"secret"), hash_key(b"other").upper()]
    keys = KeySet(hashes, ["laptop", "server"])
    assert keys.name_of(b"Bearer secret") == "laptop"
    assert keys.name_of(b"other") == "server"
    assert keys.name_of(b"third") is None
    assert keys.name_of(None) is None
    for names in ((), ["laptop"]):  # of an older control plane, or of another number of keys
        name = KeySet(hashes, names).name_of(b"secret")
        assert name == f"sha256:{hash_key(b'secret')[:8]}"
