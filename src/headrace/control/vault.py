"""Encrypts secrets with a key in a file beside the database, readable by its owner only.

A copy of the database alone reveals no secret. Fernet: AES-128-CBC with HMAC-SHA-256
(github.com/fernet/spec).
"""

import hashlib
import hmac
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from headrace.control.errors import StoreError


class Vault:
    """Encrypts and decrypts with one key."""

    def __init__(self, key: bytes, path: Path) -> None:
        self._fernet = Fernet(key)
        self._key = key
        self._path = path

    @classmethod
    def open(cls, path: Path) -> "Vault":
        """Use the key in the file; create one if there is none. Raises StoreError."""
        try:
            _make_key(path)
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            key = path.read_bytes().strip()
        except OSError as error:
            raise StoreError(f"The key file {path} cannot be used: {error.strerror}.") from error
        try:
            return cls(key, path)
        except ValueError:
            raise StoreError(
                f"The key file {path} is damaged. Restore it from a backup; or move it away, "
                "restart, and create every secret again."
            ) from None

    def __repr__(self) -> str:
        return f"<Vault with the key in {self._path}>"

    def encrypt(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def decrypt(self, ciphertext: bytes) -> str:
        """Raises StoreError if it was encrypted with another key."""
        try:
            return self._fernet.decrypt(ciphertext).decode()
        except InvalidToken:
            raise StoreError(
                f"It was encrypted with another key than the one in {self._path}. Restore that "
                "key file, or create the secret again."
            ) from None

    def derive(self, purpose: str) -> str:
        """A secret for one purpose, in hex; always the same (HMAC-SHA-256 with the key)."""
        return hmac.digest(self._key, purpose.encode(), hashlib.sha256).hex()


def _make_key(path: Path) -> None:
    """Written and fsynced before it gets its name, so that no secret is encrypted with a lost key.

    Of concurrent calls one wins, and all use its key.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        os.unlink(part)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
