"""Sends the API key in requests, and removes it from all output."""

import re

from headrace.bench.errors import OptionError
from headrace.bench.redaction import HIDDEN

_MIN_SECRET_LEN = 8
"""Characters. Shorter keys (``none``, ``EMPTY``) may be parts of words."""


def authorization(api_key: str | None) -> dict[str, str]:
    """The header with the key; empty without a key. Raises OptionError, without the key."""
    if api_key is None:
        return {}
    key = api_key.strip()
    if not key:
        raise OptionError(
            "--api-key is empty. Omit it if the server needs no key, or set OPENAI_API_KEY."
        )
    if not key.isascii() or not key.isprintable():
        raise OptionError("The API key has characters that are not allowed in an HTTP header.")
    return {"Authorization": f"Bearer {key}"}


def hide_key(text: str, api_key: str | None) -> str:
    """The text with ``***`` in place of the key: some servers repeat it in their errors."""
    key = (api_key or "").strip()
    if not key or key not in text:
        return text
    if len(key) >= _MIN_SECRET_LEN:
        return text.replace(key, HIDDEN)
    return re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", HIDDEN, text)
