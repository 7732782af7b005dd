"""What an exception says to people, as the cause that an event or a replica is stored with.

Knows no replica and no run.
"""

import os

from headrace.core.errors import HeadraceError

MAX_LENGTH = 4000
"""Characters; what is longer is cut in the middle."""


def cause_of(error: BaseException) -> str:
    """In one sentence or more; never empty, never longer than `MAX_LENGTH`."""
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
