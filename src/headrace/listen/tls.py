"""TLS for a listening socket, from files in PEM format."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from headrace.core.errors import HeadraceError


@dataclass(frozen=True)
class TlsFiles:
    """A certificate chain and its private key."""

    certfile: Path
    keyfile: Path

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.2 and later. Raises HeadraceError when the files are not a certificate and its key.

        A key with a passphrase is refused: a restart could not ask for it.
        """
        for option, path in (("--ssl-certfile", self.certfile), ("--ssl-keyfile", self.keyfile)):
            try:
                path.read_bytes()
            except OSError as error:
                raise HeadraceError(f"Cannot read {option} {path}: {error.strerror}.") from error
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certfile, self.keyfile, password=_no_passphrase)
        except _EncryptedKeyError:
            raise HeadraceError(
                f"--ssl-keyfile {self.keyfile} has a passphrase. Give a key without one."
            ) from None
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                reason = f"--ssl-keyfile {self.keyfile} is not the key of this certificate"
            else:
                reason = "they are not a certificate and a private key in PEM format"
            raise HeadraceError(
                f"Cannot use --ssl-certfile {self.certfile} and --ssl-keyfile {self.keyfile}: "
                f"{reason}."
            ) from error
        return context


def tls_files(certfile: str | Path | None, keyfile: str | Path | None) -> TlsFiles | None:
    """Of the two options: both or neither. Raises HeadraceError when only one is given."""
    if certfile is None and keyfile is None:
        return None
    if certfile is None or keyfile is None:
        raise HeadraceError("--ssl-certfile and --ssl-keyfile must be given together.")
    return TlsFiles(Path(certfile), Path(keyfile))


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> str:
    raise _EncryptedKeyError
