"""TLS of a listening socket, from PEM files."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.core.errors import HeadraceError

TlsErrorCode = Literal[
    "file_missing", "file_unreadable", "key_encrypted", "key_mismatch", "invalid_pem"
]


class TlsError(HeadraceError):
    """The TLS files cannot be used."""

    code: TlsErrorCode

    def __init__(self, code: TlsErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class TlsFiles:
    """A certificate chain and its private key."""

    certfile: Path
    keyfile: Path

    def server_context(self) -> ssl.SSLContext:
        """A context for TLS 1.2 and later; raises TlsError.

        A key with a passphrase is refused, because an unattended restart could not enter it.
        """
        for option, path in (("--ssl-certfile", self.certfile), ("--ssl-keyfile", self.keyfile)):
            try:
                path.read_bytes()
            except OSError as error:
                raise TlsError(
                    "file_unreadable", f"Cannot read {option} {path}: {error.strerror}."
                ) from error
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certfile, self.keyfile, password=_no_passphrase)
        except _EncryptedKeyError:
            raise TlsError(
                "key_encrypted",
                f"--ssl-keyfile {self.keyfile} has a passphrase. Use a key without one.",
            ) from None
        except ssl.SSLError as error:
            files = f"--ssl-certfile {self.certfile} and --ssl-keyfile {self.keyfile}"
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsError(
                    "key_mismatch",
                    f"Cannot use {files}: the key does not match the certificate.",
                ) from error
            raise TlsError(
                "invalid_pem",
                f"Cannot use {files}: not a certificate chain and a private key in PEM format.",
            ) from error
        return context


def tls_files(certfile: str | Path | None, keyfile: str | Path | None) -> TlsFiles | None:
    """The files of the two options, None without them. Raises TlsError if only one is given."""
    if certfile is None and keyfile is None:
        return None
    if certfile is None or keyfile is None:
        raise TlsError("file_missing", "--ssl-certfile and --ssl-keyfile must be given together.")
    return TlsFiles(Path(certfile), Path(keyfile))


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> str:
    raise _EncryptedKeyError
