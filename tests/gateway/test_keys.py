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
