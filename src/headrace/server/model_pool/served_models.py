"""The models of one server."""

from collections.abc import Sequence

from headrace.core.errors import EngineDeadError, EngineDrainingError
from headrace.server.adapters import LoraModule
from headrace.server.model_pool.pool import ModelLoader, ModelPool
from headrace.server.model_pool.slot import Slot
from headrace.server.model_pool.spec import ModelSpec
from headrace.server.served_model import ServedModel


class ServedModels(ModelPool[ServedModel]):
    """A pool of the server's models, with what is known of those that are not loaded."""

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        loader: ModelLoader[ServedModel],
        *,
        max_loaded: int,
        keep_alive_s: float | None,
        created: int,
    ) -> None:
        """created: start of the server, in Unix seconds."""
        slots = [Slot[ServedModel](spec.all_names, _max_num_waiting(spec)) for spec in specs]
        super().__init__(
            slots,
            loader,
            max_loaded=max_loaded,
            keep_alive_s=keep_alive_s,
            # A server of one model exits when its engine has failed.
            reloads_dead=len(specs) > 1,
        )
        self.specs = {spec.names[0]: spec for spec in specs}
        """By the name in responses."""
        self.created = created

    def adapter_of(self, slot: Slot[ServedModel], name: str) -> LoraModule | None:
        """The adapter of this name, loaded or to be loaded with its model, if there is one."""
        if slot.model is not None:
            adapter = slot.model.adapters.get(name)
            return None if adapter is None else adapter.module
        modules = self.specs[slot.name].lora_modules
        return next((module for module in modules if module.name == name), None)

    @property
    def num_unfinished(self) -> int:
        """Requests in progress, and those that wait for a model."""
        return self.num_waiting + sum(each.engine.num_unfinished for each in self.models)

    @property
    def dead_error(self) -> EngineDeadError | None:
        """Why the engine of the only model ended; None while it runs, and for several models."""
        if self.reloads_dead:
            return None
        return next((each.engine.dead_error for each in self.models), None)

    def check_accepting(self) -> None:
        """Raises EngineDeadError or EngineDrainingError if new requests are not accepted."""
        if self.is_draining:
            raise EngineDrainingError("The server is shutting down and accepts no new requests.")
        if not self.reloads_dead:
            for served in self.models:
                served.check_accepting()


def _max_num_waiting(spec: ModelSpec) -> int:
    """As many as the engine accepts when it is loaded and idle."""
    return spec.server.max_queue + spec.engine.max_num_seqs
