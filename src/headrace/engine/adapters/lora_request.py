"""Adapters of the offline interface. Names follow vLLM's."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from headrace.core.errors import AdapterError, InvalidParameterError
from headrace.engine.messages import AdapterLoaded, LoadAdapter


@dataclass(frozen=True, slots=True)
class LoRARequest:
    """An adapter to generate with. Requests that are equal use the adapter as it was loaded for
    the first of them."""

    lora_name: str
    lora_int_id: int
    lora_path: str
    """The adapter's directory, in PEFT's layout."""


class AdapterCore(Protocol):
    """What is needed of an EngineCore."""

    def load_adapter(self, message: LoadAdapter) -> None: ...

    def unload_adapter(self, adapter_id: int) -> None: ...

    def take_loaded_adapters(self) -> list[AdapterLoaded]: ...


class OfflineAdapters:
    """Loads adapters at their first use; the least recently used one makes room."""

    def __init__(self, core: AdapterCore, max_adapters: int) -> None:
        self._core = core
        self._max_adapters = max_adapters
        self._ids = count(1)
        self._loaded: OrderedDict[LoRARequest, int] = OrderedDict()
        """Least recently used first."""

    def ids_of(
        self, requests: "LoRARequest | Sequence[LoRARequest | None] | None", num_prompts: int
    ) -> list[int]:
        """The adapter's id for each prompt, 0 for none; loads those that are not loaded. Call it
        while no request runs.

        Raises AdapterError, or InvalidParameterError for another number of requests than prompts.
        """
        if requests is None or isinstance(requests, LoRARequest):
            requests = [requests] * num_prompts
        if len(requests) != num_prompts:
            raise InvalidParameterError(
                "lora_request",
                f"there are {len(requests)} for {num_prompts} prompts; give one for each, or one "
                "for all",
            )
        wanted = [each for each in dict.fromkeys(requests) if each is not None]
        if len(wanted) > self._max_adapters:
            raise AdapterError(
                f"The prompts have {len(wanted)} adapters, more than the {self._max_adapters} of "
                "max_cpu_loras. Give fewer prompts to one call, or raise max_cpu_loras."
            )
        for each in wanted:
            if each in self._loaded:
                self._loaded.move_to_end(each)
        for each in wanted:
            if each not in self._loaded:
                self._load(each)
        return [0 if each is None else self._loaded[each] for each in requests]

    def _load(self, request: LoRARequest) -> None:
        if len(self._loaded) == self._max_adapters:
            _, oldest = self._loaded.popitem(last=False)
            self._core.unload_adapter(oldest)
        adapter_id = next(self._ids)
        self._core.load_adapter(LoadAdapter(adapter_id, request.lora_path))
        answers = self._core.take_loaded_adapters()
        while not answers:
            answers = self._core.take_loaded_adapters()
        if answers[0].error is not None:
            raise AdapterError(answers[0].error)
        self._loaded[request] = adapter_id
