"""The certificate authorities that the client trusts."""

import ssl
from pathlib import Path

from headrace.bench.errors import OptionError


def client_context(is_tls: bool, ca_certs: Path | None) -> ssl.SSLContext | None:
    """None for plain HTTP.

    It trusts the system's authorities (those of SSL_CERT_FILE and SSL_CERT_DIR, if they are set)
    and those in ``ca_certs``, a PEM file. Raises OptionError if that file is not valid, for plain
    HTTP too.
    """
    if not is_tls and ca_certs is None:
        return None
    context = ssl.create_default_context()
    if ca_certs is not None:
        try:
            context.load_verify_locations(ca_certs)
        except ssl.SSLError:  # before OSError, which it is one of
            raise OptionError(
                f"--ssl-ca-certs {ca_certs} has no certificates in PEM format."
            ) from None
        except OSError as error:
            raise OptionError(
                f"--ssl-ca-certs {ca_certs} cannot be read: {error.strerror}."
            ) from None
    return context if is_tls else None
