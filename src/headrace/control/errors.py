"""Every error that the control plane raises on purpose, and the text of any error for users.

HeadraceError
├── NotFoundError            not_found            no such service, revision, run ... (HTTP 404)
├── ConflictError            conflict             the current state does not allow it (HTTP 409)
├── InvalidNameError         invalid_name         an invalid name or value (HTTP 422)
├── SecretNotFoundError      secret_not_found     a manifest names a secret that does not exist
├── UnreadableSpecError      unreadable_spec      another version stored it
├── CertificateError         invalid_certificate  not the certificate of a control plane
├── StoreError               store_unavailable    the database is unavailable or unusable (HTTP 503)
├── GatewayUnavailableError  gateway_unavailable  the gateway does not respond (HTTP 503)
├── LaunchError              launch_failed        a process could not be started
├── ImportSourceError        import_failed        an import or export failed
└── ControlApiError          of the response      the control plane failed, or does not respond
"""

import os

from headrace.core.errors import HeadraceError


class NotFoundError(HeadraceError):
    """The resource does not exist."""

    code = "not_found"


class ConflictError(HeadraceError):
    """The current state does not allow the operation; nothing was changed."""

    code = "conflict"


class InvalidNameError(HeadraceError):
    """A name or value is invalid."""

    code = "invalid_name"


class SecretNotFoundError(HeadraceError):
    """A manifest names a secret that does not exist."""

    code = "secret_not_found"


class UnreadableSpecError(HeadraceError):
    """A stored manifest that another version of Headrace wrote, and this one cannot read."""

    code = "unreadable_spec"


class CertificateError(HeadraceError):
    """A file or the local credentials hold no certificate that can be trusted."""

    code = "invalid_certificate"


class StoreError(HeadraceError):
    """The database is unavailable or unusable. The message never contains its password."""

    code = "store_unavailable"


class GatewayUnavailableError(HeadraceError):
    """The gateway does not respond on its admin port."""

    code = "gateway_unavailable"


class LaunchError(HeadraceError):
    """A process could not be started."""

    code = "launch_failed"


class ControlApiError(HeadraceError):
    """The control plane returned an error, or does not respond.

    ``code`` is the code in the API's response, or one of the client: ``no_credentials``,
    ``invalid_credentials``, ``unreachable``, ``untrusted_certificate``, ``unexpected_response``,
    ``invalid_name``.
    """

    def __init__(self, message: str, code: str = "error") -> None:
        super().__init__(message)
        self.code = code


class ImportSourceError(HeadraceError):
    """An import or export of a manifest failed."""

    code = "import_failed"


MAX_LENGTH = 4000
"""In characters; longer texts are shortened in the middle."""


def cause_of(error: BaseException) -> str:
    """The text of an error for users and logs: at most `MAX_LENGTH` characters, never empty."""
    if isinstance(error, HeadraceError) and str(error):
        return shortened(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        place = "" if error.filename is None else f"'{os.fsdecode(error.filename)}': "
        return shortened(f"{place}{os.strerror(error.errno)}.")
    name = type(error).__name__
    return shortened(f"{name}: {error}" if str(error) else f"{name}.")


def shortened(text: str, max_length: int = MAX_LENGTH) -> str:
    """The text, shortened in the middle to at most ``max_length`` characters."""
    if len(text) <= max_length:
        return text
    half = (max_length - len(_LEFT_OUT)) // 2
    return f"{text[:half]}{_LEFT_OUT}{text[-half:]}"


_LEFT_OUT = "\n[...]\n"
