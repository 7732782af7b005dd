"""The LoRA adapters of a server, by the names under which requests ask for them."""

import asyncio
import json
import time
from dataclasses import dataclass

from headrace.core.errors import AdapterError, InvalidParameterError
from headrace.engine.adapters.adapter_client import AdapterClient
from headrace.engine.adapters.loaded_adapter import LoadedAdapter

MAX_NAME_LENGTH = 256
"""Characters."""
_MODULE_KEYS = frozenset({"name", "path", "base_model_name"})


@dataclass(frozen=True, slots=True)
class LoraModule:
    """An adapter to serve, as ``--lora-modules`` names it."""

    name: str
    path: str
    """Its directory on the server."""
    base_model_name: str | None = None
    """Its parent in /v1/models; None: the served model's first name."""


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """An adapter that requests can name."""

    module: LoraModule
    loaded: LoadedAdapter
    created: int
    """When it was loaded, in Unix seconds."""


def read_lora_module(param: str, text: str) -> LoraModule:
    """``NAME=PATH`` or a JSON object with "name", "path" and perhaps "base_model_name".

    Raises InvalidParameterError.
    """
    if not text.lstrip().startswith("{"):
        name, separator, path = text.partition("=")
        if not separator or not path:
            raise InvalidParameterError(
                param, f'must be NAME=PATH, or {{"name": NAME, "path": PATH}}, got {text!r}'
            )
        return LoraModule(check_name(param, name), path)
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidParameterError(param, f"is not valid JSON: {error}") from None
    is_known = values.keys() <= _MODULE_KEYS and {"name", "path"} <= values.keys()
    if not is_known or not all(isinstance(value, str) and value for value in values.values()):
        raise InvalidParameterError(
            param, 'must have "name", "path" and perhaps "base_model_name", all of them texts'
        )
    check_name(param, values["name"])
    return LoraModule(**values)


def check_lora_modules(param: str, modules: tuple[str, ...]) -> None:
    """Raises InvalidParameterError for a module that cannot be read, or a name that is repeated."""
    names = [read_lora_module(param, module).name for module in modules]
    if len(set(names)) < len(names):
        raise InvalidParameterError(param, f"must not repeat a name, got {', '.join(names)}")


def check_name(param: str, name: str) -> str:
    """The name; raises InvalidParameterError if a model cannot have it."""
    if not name or name != name.strip() or not name.isprintable() or len(name) > MAX_NAME_LENGTH:
        raise InvalidParameterError(
            param,
            f"must have 1 to {MAX_NAME_LENGTH} characters, no surrounding spaces and no control "
            "characters",
        )
    return name


class ServedAdapters:
    """Loads one adapter at a time, so that clients cannot fill the memory with what is loading."""

    def __init__(self, client: AdapterClient, base_names: tuple[str, ...]) -> None:
        """base_names: those of the model itself, which no adapter may have."""
        self._client = client
        self._base_names = base_names
        self._adapters: dict[str, ServedAdapter] = {}
        self._loading = asyncio.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._adapters)

    def get(self, name: str) -> ServedAdapter | None:
        return self._adapters.get(name)

    async def load(
        self, module: LoraModule, *, param: str = "lora_name", replace: bool = False
    ) -> None:
        """Load an adapter. replace: one of this name is replaced; its requests go on with it.

        Raises InvalidParameterError for a name that is in use, AdapterError if the adapter cannot
        be loaded, EngineDeadError.
        """
        check_name(param, module.name)
        async with self._loading:
            before = self._adapters.get(module.name)
            if module.name in self._base_names:
                raise InvalidParameterError(param, f"{module.name!r} is the name of the model")
            if before is not None and not replace:
                raise InvalidParameterError(
                    param,
                    f"the adapter {module.name!r} is loaded; unload it first, or set load_inplace",
                )
            try:
                loaded = await self._client.load(module.path)
            except AdapterError as error:
                raise AdapterError(f"{module.name}: {error}") from error
            self._adapters[module.name] = ServedAdapter(module, loaded, int(time.time()))
            if before is not None:
                self._client.unload(before.loaded)

    def unload(self, name: str) -> bool:
        """Unload an adapter: its requests go on, and new ones do not find it. Returns whether there
        was one of this name."""
        adapter = self._adapters.pop(name, None)
        if adapter is not None:
            self._client.unload(adapter.loaded)
        return adapter is not None
