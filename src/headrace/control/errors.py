"""Every error that the control plane raises on purpose.

HeadraceError
├── NotFoundError      no such service, revision, run ... (HTTP 404)
├── ConflictError      it cannot be done in the state that things are in (HTTP 409)
├── InvalidNameError   a name that cannot be used (HTTP 422)
├── StoreError         the database cannot be used
├── LaunchError        a command could not be started
├── ImportSourceError  a folder could not be fetched or kept
└── ApiError           the control plane refused, or does not answer
"""

from headrace.core.errors import HeadraceError


class NotFoundError(HeadraceError):
    """There is no such thing."""


class ConflictError(HeadraceError):
    """It cannot be done in the state that things are in; nothing was changed."""


class InvalidNameError(HeadraceError):
    """A name that cannot be used."""


class StoreError(HeadraceError):
    """The database cannot be used; its password is never in the text."""


class LaunchError(HeadraceError):
    """A command could not be started."""


class ApiError(HeadraceError):
    """The control plane refused a request, or does not answer."""


class ImportSourceError(HeadraceError):
    """A folder that a manifest names could not be fetched, or not be kept."""
