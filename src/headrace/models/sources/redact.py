"""Removes secrets from the output of other programs."""

import os
import re

_URL_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_URL_QUERY = re.compile(
    r"(?<=[^\s?])\?[^\s'\")>]*(?:token|key|sig|secret|password)[^\s'\")>]*", re.I
)
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9_]{6,}")
_SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def redact(text: str) -> str:
    """The text without logins and signed queries of URLs and without hub tokens."""
    for name in _SECRET_VARIABLES:
        secret = os.environ.get(name, "").strip()
        if len(secret) >= 4:
            text = text.replace(secret, "***")
    text = _URL_LOGIN.sub("***@", text)
    text = _URL_QUERY.sub("?***", text)
    return _HUB_TOKEN.sub("hf_***", text)
