"""The API key is sent and not disclosed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.errors import OptionError
from headrace.bench.http.credentials import authorization, hide_key


def test_the_key_is_a_bearer_token() -> None:
    assert authorization(None) == {}
    assert authorization(" sk-1\n") == {"Authorization": "Bearer sk-1"}


@pytest.mark.parametrize("key", ["", "  ", "hush\r\nX: y", "hush\x00", "hüsh", "hush\udcff"])
def test_invalid_keys_are_refused_and_not_disclosed(key: str) -> None:
    with pytest.raises(OptionError) as raised:
        authorization(key)
    assert "hush" not in str(raised.value)


@given(st.text(), st.text("abc-_.+=/", min_size=8), st.text())
def test_a_key_is_redacted_in_every_position(before: str, key: str, after: str) -> None:
    assert key not in hide_key(before + key + after, key).replace("***", "")


def test_placeholder_keys_are_redacted_as_whole_words() -> None:
    assert hide_key("Wrong key: none.", "none") == "Wrong key: ***."
    assert hide_key("nonetheless", "none") == "nonetheless"
    assert hide_key("all", None) == "all"
