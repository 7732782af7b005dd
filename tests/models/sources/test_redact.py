"""Texts of pip and the hub are redacted."""

import pytest

from headrace.models.sources.redact import redact


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("no secret here: https://a.example/x?y=1", "no secret here: https://a.example/x?y=1"),
        ("Looking in https://me:pw@a.example/simple", "Looking in https://***@a.example/simple"),
        ("at https://ghp_abc@a.example/x", "at https://***@a.example/x"),
        ("url https://a.example/x?X-Sig=abc&b=c failed", "url https://a.example/x?*** failed"),
        ("token hf_abcdefghij is wrong", "token hf_*** is wrong"),
    ],
)
def test_urls_and_tokens(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_the_environments_token_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "my-odd-token")
    assert redact("header: Bearer my-odd-token.") == "header: Bearer ***."
