"""Encrypts secrets with a key that lies beside the store, in a file of its owner's alone.

Whoever has a copy of the database has no secret. Fernet: AES-128-CBC with HMAC-SHA-256
(github.com/fernet/spec). Knows no store and no name of any secret.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from headrace.control.errors import StoreError


class Vault:
    """Seals texts and opens them again, with one key."""

    def __init__(self, key: bytes, path: Path) -> None:
        self._fernet = Fernet(key)
        self._path = path

    @classmethod
    def open(cls, path: Path) -> "Vault":
        """With the key in the file; makes one if there is none. Raises StoreError."""
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
                f"The key file {path} is damaged. Put back a copy of it; or move it away, start "
                "again, and put every secret anew."
            ) from None

    def __repr__(self) -> str:
        return f"<Vault with the key in {self._path}>"

    def encrypt(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def decrypt(self, ciphertext: bytes) -> str:
        """Raises StoreError if it was sealed with another key."""
        try:
            return self._fernet.decrypt(ciphertext).decode()
        except InvalidToken:
            raise StoreError(
                f"It was encrypted with another key than the one in {self._path}. Put back that "
                "key file, or put the secret anew."
            ) from None


def _make_key(path: Path) -> None:
    """Whole and on the disk before it has its name, so that nothing is sealed with a lost key.

    Of several that begin at once, one wins and all use its key.
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
