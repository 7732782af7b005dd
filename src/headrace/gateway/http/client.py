"""What an exchange needs of the connection that its request came from. Knows no socket."""

from typing import Protocol

from headrace.gateway.http.http_request import Sender


class Client(Protocol):
    """The connection that the request came from."""

    @property
    def is_paused(self) -> bool:
        """It takes no more bytes for now."""

    @property
    def sender(self) -> Sender: ...

    def write(self, data: bytes) -> None: ...

    def answered(self, is_last: bool) -> None:
        """The answer is whole; ``is_last``: the connection ends with it."""

    def cut(self, by_reset: bool) -> None:
        """The answer is not whole and will not be: end the connection after what was written;
        ``by_reset``: in a way that nobody takes for the answer's end."""
