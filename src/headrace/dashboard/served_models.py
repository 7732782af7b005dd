"""Which model names the replicas of a revision accept."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from headrace.control.processes.local_http import LocalHttpClient
from headrace.control.resources import Replica, ReplicaState, RevisionKey

_TIMEOUT_S = 1.0
_RETRY_S = 15.0
"""After a failure a revision's replicas are not asked again for this long."""
_MAX_AGE_S = 600.0
_MAX_NUM_BYTES = 1024 * 1024
_MAX_NUM_REVISIONS = 1000


class ServedModels:
    """Asks ready replicas for ``/v1/models``. Used by one event loop."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._known: dict[RevisionKey, tuple[float, list[str]]] = {}
        """Until when, and the names; oldest first."""

    async def names(self, key: RevisionKey, port: int, replicas: Iterable[Replica]) -> list[str]:
        """Of the API at the declared ``port``; empty if no replica says it."""
        now_s = self._clock_s()
        known = self._known.get(key)
        if known is not None and now_s < known[0]:
            return known[1]
        host_ports = [
            replica.host_ports[port]
            for replica in replicas
            if replica.state is ReplicaState.READY and port in replica.host_ports
        ]
        names = await _fetch(host_ports[0]) if host_ports else []
        self._known.pop(key, None)
        self._known[key] = (now_s + (_MAX_AGE_S if names else _RETRY_S), names)
        if len(self._known) > _MAX_NUM_REVISIONS:
            del self._known[next(iter(self._known))]
        return names


async def _fetch(host_port: int) -> list[str]:
    http = LocalHttpClient(_TIMEOUT_S)
    try:
        url = f"http://127.0.0.1:{host_port}/v1/models"
        content = await http.get(url, max_num_bytes=_MAX_NUM_BYTES)
        return [] if content is None else _ids(json.loads(content))
    except ValueError:
        return []
    finally:
        await http.close()


def _ids(page: Any) -> list[str]:
    models = page.get("data") if isinstance(page, dict) else None
    ids = (
        [one.get("id") for one in models if isinstance(one, dict)]
        if isinstance(models, list)
        else []
    )
    return [name for name in ids if isinstance(name, str) and name]
