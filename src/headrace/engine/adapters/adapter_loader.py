"""Loads and unloads adapters in the engine core."""

import logging
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from headrace.core.errors import AdapterError
from headrace.engine.messages import AdapterLoaded

logger = logging.getLogger(__name__)

_Adapter = TypeVar("_Adapter")


class Adapters(Protocol[_Adapter]):
    """The adapters of one model: models.adapters.adapter_set, or a fake."""

    def read(self, directory: Path) -> _Adapter:
        """Raises AdapterError. Another thread calls it during steps."""
        ...

    def place(self, adapter_id: int, adapter: _Adapter) -> None:
        """Raises AdapterError if there is no place."""
        ...

    def remove(self, adapter_id: int) -> None:
        """Unknown ids are ignored."""
        ...


class AdapterLoader(Generic[_Adapter]):
    """Adapters are read on a thread beside the steps, and placed between two steps."""

    def __init__(self, adapters: Adapters[_Adapter]) -> None:
        self._adapters = adapters
        self._loading: dict[int, Future[_Adapter]] = {}
        self._loaded: set[int] = set()
        self._executor = ThreadPoolExecutor(1, "headrace-adapters")

    def __contains__(self, adapter_id: int) -> bool:
        """Whether requests may have it."""
        return adapter_id in self._loaded

    @property
    def is_loading(self) -> bool:
        """Whether ``take_loaded`` will return adapters."""
        return bool(self._loading)

    def load(self, adapter_id: int, path: str) -> None:
        """Begin to read an adapter."""
        directory = Path(path).expanduser()
        self._loading[adapter_id] = self._executor.submit(self._adapters.read, directory)

    def take_loaded(self, timeout_s: float = 0.0) -> list[AdapterLoaded]:
        """Place the adapters that have been read by now, or when the first one's end comes within
        ``timeout_s``."""
        if timeout_s > 0:
            wait(self._loading.values(), timeout_s, FIRST_COMPLETED)
        done = [adapter_id for adapter_id, future in self._loading.items() if future.done()]
        return [self._place(adapter_id, self._loading.pop(adapter_id)) for adapter_id in done]

    def unload(self, adapter_id: int) -> None:
        """Free an adapter that no unfinished request has; unknown ids are ignored."""
        self._loaded.discard(adapter_id)
        self._adapters.remove(adapter_id)

    def _place(self, adapter_id: int, read: Future[_Adapter]) -> AdapterLoaded:
        try:
            self._adapters.place(adapter_id, read.result())
        except AdapterError as error:
            return AdapterLoaded(adapter_id, str(error))
        except Exception:
            logger.exception("Adapter %d", adapter_id)
            return AdapterLoaded(
                adapter_id, "The adapter cannot be loaded; the server's log says why."
            )
        self._loaded.add(adapter_id)
        return AdapterLoaded(adapter_id)
