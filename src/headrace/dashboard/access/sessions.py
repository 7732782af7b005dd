"""Sessions of signed-in browsers, and the one-time links that start them.

In memory, so that a restart of the control plane signs everyone out. Only hashes of the cookies'
values and of the links' codes are kept.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from headrace.control.operations.credentials import hash_credential, new_credential

SESSION_S = 12 * 3600.0
"""A session ends this long after sign-in."""
LINK_S = 120.0
"""A one-time link is valid for this long."""

_MAX_NUM_SESSIONS = 1000
_MAX_NUM_LINKS = 100
_SESSION_KIND = "hrs"
_LINK_KIND = "hrl"


@dataclass(slots=True)
class Session:
    """One signed-in browser."""

    token_hash: str
    """Of the API token it was started with. When the token is revoked, the session ends."""
    csrf_token: str = field(repr=False)
    expires_at_s: float
    notice: str = ""
    """The result of the last change, shown on the next page."""


@dataclass(frozen=True, slots=True)
class OpenedSession:
    session: Session
    cookie: str = field(repr=False)
    """The cookie's value."""


@dataclass(frozen=True, slots=True)
class _Link:
    token_hash: str
    expires_at_s: float


_Entry = TypeVar("_Entry", Session, _Link)


class Sessions:
    """All sessions and links. Thread-safe; bounded: the oldest make room for new ones."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        """By hash of the cookie's value, oldest first."""
        self._links: dict[str, _Link] = {}
        """By hash of the code, oldest first."""

    def open(self, token_hash: str) -> OpenedSession:
        """Start a session of the token with this hash."""
        cookie = new_credential(_SESSION_KIND)
        session = Session(token_hash, secrets.token_hex(32), self._clock() + SESSION_S)
        with self._lock:
            self._make_room(self._sessions, _MAX_NUM_SESSIONS)
            self._sessions[hash_credential(cookie)] = session
        return OpenedSession(session, cookie)

    def find(self, cookie: str) -> Session | None:
        """The session of this cookie; None if it is unknown, closed or expired."""
        with self._lock:
            session = self._sessions.get(hash_credential(cookie))
        return session if session is not None and self._is_valid(session) else None

    def close(self, cookie: str) -> None:
        with self._lock:
            self._sessions.pop(hash_credential(cookie), None)

    def create_link(self, token_hash: str) -> str:
        """The code of a new one-time link, which starts a session of the token."""
        code = new_credential(_LINK_KIND)
        with self._lock:
            self._make_room(self._links, _MAX_NUM_LINKS)
            self._links[hash_credential(code)] = _Link(token_hash, self._clock() + LINK_S)
        return code

    def redeem_link(self, code: str) -> str | None:
        """The hash of the link's token; None if it is unknown, used or expired."""
        with self._lock:
            link = self._links.pop(hash_credential(code), None)
        return link.token_hash if link is not None and self._is_valid(link) else None

    def _is_valid(self, entry: Session | _Link) -> bool:
        return self._clock() < entry.expires_at_s

    def _make_room(self, entries: dict[str, _Entry], max_num: int) -> None:
        """Remove what has expired, and the oldest while there is no room for one more."""
        for key in [key for key, entry in entries.items() if not self._is_valid(entry)]:
            del entries[key]
        while len(entries) >= max_num:
            del entries[next(iter(entries))]
