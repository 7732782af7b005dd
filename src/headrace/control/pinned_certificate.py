"""How the command line of this machine trusts the control plane's certificate.

The control plane listens on 127.0.0.1, which the operator's certificate need not name, and may be
signed by an authority that this machine does not know. So the local credentials hold the
certificate itself, and that one alone is trusted.
"""

import ssl
from pathlib import Path

from headrace.core.errors import HeadraceError

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def first_certificate(certfile: Path) -> str:
    """The server's own certificate of a chain, in PEM. Raises HeadraceError."""
    try:
        text = certfile.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise HeadraceError(f"Cannot read {certfile}: {error.strerror}.") from None
    _, begin, rest = text.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not begin or not end:
        raise HeadraceError(f"{certfile} holds no certificate in PEM format.")
    return f"{begin}{body}{end}\n"


def trusting_only(certificate: str) -> ssl.SSLContext:
    """A client's context for a server with this certificate, whatever name it was made for.

    Raises HeadraceError if it is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError):
        raise HeadraceError("The certificate in the local credentials is damaged.") from None
    return context
