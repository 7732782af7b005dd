"""The protocol by which a long fetch reports its progress; cli.progress draws it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Stages one after the other, each begun and ended; may be called from another thread."""

    def begin(self, label: str, total_bytes: int | None) -> None:
        """A stage starts; None where its size is not known."""
        ...

    def advance(self, num_bytes: int) -> None: ...

    def end(self) -> None:
        """The stage is over, done or failed."""
        ...

    def note(self, text: str) -> None:
        """One line for the user, in or between stages."""
        ...


class SilentProgress:
    """Reports nothing."""

    def begin(self, label: str, total_bytes: int | None) -> None: ...

    def advance(self, num_bytes: int) -> None: ...

    def end(self) -> None: ...

    def note(self, text: str) -> None: ...


@contextmanager
def stage(progress: Progress, label: str, total_bytes: int | None) -> Iterator[None]:
    """Begin a stage and end it whatever happens."""
    progress.begin(label, total_bytes)
    try:
        yield
    finally:
        progress.end()
