"""Certificate pinning between the control plane and the command line of the same machine.

The operator's certificate need not be valid for 127.0.0.1, and its authority need not be trusted
here. So the local credentials contain the certificate itself, and the client trusts only that.
"""

import ssl
from pathlib import Path

from headrace.control.errors import CertificateError

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def first_certificate(certfile: Path) -> str:
    """The first certificate of a chain, which is the server's own, in PEM.

    Raises CertificateError if there is none.
    """
    try:
        text = certfile.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise CertificateError(f"Cannot read {certfile}: {error.strerror}.") from None
    _, begin, rest = text.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not begin or not end:
        raise CertificateError(f"{certfile} contains no certificate in PEM format.")
    return f"{begin}{body}{end}\n"


def trusting_only(certificate: str) -> ssl.SSLContext:
    """A client context that accepts only this certificate, for any host name.

    Raises CertificateError if it is not a certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError):
        raise CertificateError("The certificate in the local credentials is damaged.") from None
    return context
