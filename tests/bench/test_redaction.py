"""Secrets are redacted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.redaction import url_without_secrets, without_secrets


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["--api-key", "sk-1", "-n", "5"], ["--api-key", "***", "-n", "5"]),
        (["--api-key=sk-1"], ["--api-key=***"]),
        (["--api_key", "sk-1"], ["--api_key", "***"]),
        (["--hf-token", "x", "--password", "y"], ["--hf-token", "***", "--password", "***"]),
        (["--header", "Authorization: Bearer x"], ["--header", "***"]),
        (["--max-token", "5"], ["--max-token", "5"]),
        (["--max-tokens", "5", "--tokenizer", "d"], ["--max-tokens", "5", "--tokenizer", "d"]),
        (["--base-url", "http://me:pw@h:1/v1"], ["--base-url", "http://***@h:1/v1"]),
        (["--target", "a=https://me@h/v1#m"], ["--target", "a=https://***@h/v1#m"]),
        (["--base-url", "http://me:p/w@x@h/v1"], ["--base-url", "http://***@h/v1"]),
        (
            ["--extra-body", '{"user": "a", "api_key": "x\\"y", "max_tokens": 5}'],
            ["--extra-body", '{"user": "a", "api_key": "***", "max_tokens": 5}'],
        ),
        (["--base-url", "http://h/?a=1&api_key=x"], ["--base-url", "http://h/?a=1&api_key=***"]),
    ],
)
def test_secrets_are_redacted(typed: list[str], kept: list[str]) -> None:
    assert without_secrets(typed) == kept


@given(st.text("abcdef0123456789", min_size=6), st.lists(st.sampled_from(["-c", "5", "serve"])))
def test_keys_are_redacted_in_every_position(key: str, others: list[str]) -> None:
    secret = f"sk-{key}"
    for written in (["--api-key", secret], [f"--api-key={secret}"]):
        assert secret not in " ".join(without_secrets([*others, *written, *others]))


def test_plain_addresses_are_unchanged() -> None:
    assert url_without_secrets("http://127.0.0.1:8000/v1") == "http://127.0.0.1:8000/v1"
    assert url_without_secrets("mail me@home") == "mail me@home"
