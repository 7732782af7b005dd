"""Every error that the control plane raises on purpose, and the text of any error for users.

HeadraceError
├── NotFoundError      no such service, revision, run ... (HTTP 404)
├── ConflictError      it cannot be done in the state that things are in (HTTP 409)
├── InvalidNameError   a name that cannot be used (HTTP 422)
├── StoreError         the database cannot be used
├── LaunchError        a command could not be started
├── ImportSourceError  a folder could not be fetched or kept
└── ControlApiError           the control plane refused, or does not answer
"""

import os

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


class ControlApiError(HeadraceError):
    """The control plane refused a request, or does not answer."""


class ImportSourceError(HeadraceError):
    """A folder that a manifest names could not be fetched, or not be kept."""


MAX_LENGTH = 4000
"""In characters; the middle of a longer text is left out."""


def cause_of(error: BaseException) -> str:
    """At most `MAX_LENGTH` characters, never empty."""
    if isinstance(error, HeadraceError) and str(error):
        return shortened(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        place = "" if error.filename is None else f"'{os.fsdecode(error.filename)}': "
        return shortened(f"{place}{os.strerror(error.errno)}.")
    name = type(error).__name__
    return shortened(f"{name}: {error}" if str(error) else f"{name}.")


def shortened(text: str, max_length: int = MAX_LENGTH) -> str:
    """The text with its middle left out if it is longer than ``max_length`` characters."""
    if len(text) <= max_length:
        return text
    half = (max_length - len(_LEFT_OUT)) // 2
    return f"{text[:half]}{_LEFT_OUT}{text[-half:]}"


_LEFT_OUT = "\n[...]\n"
