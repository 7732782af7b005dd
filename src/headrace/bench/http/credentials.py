"""The API key: how it is sent, and how it is kept out of everything else."""

import re

from headrace.bench.errors import OptionError
from headrace.bench.redaction import HIDDEN

_MIN_SECRET_LEN = 8
"""Characters. What is shorter (``none``, ``EMPTY``) may be part of ordinary words."""


def authorization(api_key: str | None) -> dict[str, str]:
    """The header that carries the key; none without a key. Raises OptionError, without the key."""
    if api_key is None:
        return {}
    key = api_key.strip()
    if not key:
        raise OptionError(
            "--api-key is empty. Leave it out where the server asks for no key, or set "
            "OPENAI_API_KEY."
        )
    if not key.isascii() or not key.isprintable():
        raise OptionError("The API key has characters that cannot stand in an HTTP header.")
    return {"Authorization": f"Bearer {key}"}


def hide_key(text: str, api_key: str | None) -> str:
    """The text with ``***`` where the key stood: some servers repeat it in their errors."""
    key = (api_key or "").strip()
    if not key or key not in text:
        return text
    if len(key) >= _MIN_SECRET_LEN:
        return text.replace(key, HIDDEN)
    return re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", HIDDEN, text)
