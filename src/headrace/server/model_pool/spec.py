"""What is needed to load one of the server's models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headrace.core.errors import InvalidInputError
from headrace.engine.config import EngineConfig
from headrace.server.adapters import LoraModule, read_lora_module
from headrace.server.config import ServerConfig


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model with its options."""

    engine: EngineConfig
    server: ServerConfig
    """The server's options with those of this model, such as its names and its chat template."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name in responses, then its aliases."""
        return self.server.served_model_name or (self.engine.model,)

    @property
    def lora_modules(self) -> list[LoraModule]:
        """The adapters that are loaded with the model."""
        return [read_lora_module("lora_modules", text) for text in self.server.lora_modules]

    @property
    def all_names(self) -> tuple[str, ...]:
        """``names``, then those of the adapters."""
        return (*self.names, *(module.name for module in self.lora_modules))


def check_names(specs: Sequence[ModelSpec]) -> None:
    """Raises InvalidInputError if two models have a name in common."""
    seen: set[str] = set()
    for spec in specs:
        for name in spec.all_names:
            if name in seen:
                raise InvalidInputError(
                    f"Two models have the name {name}. Give each its own names, in --models-file."
                )
            seen.add(name)


def share_memory(specs: Sequence[ModelSpec], max_loaded: int) -> list[ModelSpec]:
    """The specs, with KV caches fitted to memory that up to max_loaded models share."""
    num_models = min(max_loaded, len(specs))
    return [
        replace(spec, engine=replace(spec.engine, max_loaded_models=num_models)) for spec in specs
    ]
