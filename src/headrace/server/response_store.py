"""The responses of /v1/responses that clients can read and continue, in memory.

Each belongs to the API key that made it: to another key it does not exist. An entry is complete by
itself, with the conversation up to it, so that one can be deleted without the others.
"""

from collections import OrderedDict
from dataclasses import dataclass

import orjson
from starlette.requests import Request

from headrace.server.http.json_body import JsonObject

ENTRY_BYTES = 1024
"""Added to the size of an entry's JSON: what Python needs for it."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response, as JSON."""

    response: bytes
    items: bytes
    """The list of the items that were its input, earlier responses and their inputs included."""

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.response) + len(self.items) + ENTRY_BYTES

    def input_items(self) -> list[JsonObject]:
        items: list[JsonObject] = orjson.loads(self.items)
        return items

    def conversation(self) -> list[JsonObject]:
        """Its input and its output."""
        output: list[JsonObject] = orjson.loads(self.response)["output"]
        return self.input_items() + output


class ResponseStore:
    """Bounded by number and bytes: the least recently used responses make room for new ones."""

    def __init__(self, max_responses: int, max_bytes: int) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[bytes, str], StoredResponse] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, owner: bytes, response_id: str, entry: StoredResponse) -> bool:
        """Whether it was stored: one that is larger than the whole store is not. owner: the API
        key's digest."""
        self.delete(owner, response_id)
        if not self._max_responses or entry.size > self._max_bytes:
            return False
        self._entries[owner, response_id] = entry
        self.num_bytes += entry.size
        while len(self._entries) > self._max_responses or self.num_bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.num_bytes -= oldest.size
        return True

    def get(self, owner: bytes, response_id: str) -> StoredResponse | None:
        entry = self._entries.get((owner, response_id))
        if entry is not None:
            self._entries.move_to_end((owner, response_id))
        return entry

    def delete(self, owner: bytes, response_id: str) -> bool:
        """Whether it was there."""
        entry = self._entries.pop((owner, response_id), None)
        if entry is None:
            return False
        self.num_bytes -= entry.size
        return True


def stored_responses(request: Request) -> ResponseStore:
    """The server's store."""
    store: ResponseStore = request.app.state.responses
    return store
