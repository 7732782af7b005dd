"""The text of an exception that is stored as the cause of a failure and shown to users."""

import os

from headrace.core.errors import HeadraceError

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
