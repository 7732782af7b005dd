"""The adapters of one decoder: read from files, placed into slots, removed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from headrace.core.errors import AdapterError
from headrace.models.adapters.base_layout import base_layout
from headrace.models.adapters.peft_weights import LowRankMatrices, read_peft_adapter
from headrace.models.decoder import Decoder
from headrace.models.loaders.expected_weights import expected_shapes
from headrace.models.ops.base import LowRank, LowRankPart, Weight
from headrace.models.rope import rotary_order


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter, packed for the weights of one decoder."""

    low_ranks: list[tuple[Weight, LowRank]]

    @property
    def num_bytes(self) -> int:
        return sum(low_rank.num_bytes for _, low_rank in self.low_ranks)


class AdapterSet:
    """Up to ``max_adapters`` adapters by their ids. ``place`` and ``remove`` only between steps."""

    def __init__(self, decoder: Decoder, max_adapters: int, max_rank: int) -> None:
        """Raises AdapterError if the decoder's architecture cannot have adapters."""
        self._decoder = decoder
        self._max_adapters = max_adapters
        self._max_rank = max_rank
        self._layout = base_layout(decoder.config.architecture)
        self._shapes = {
            name.removesuffix(".weight"): shape
            for name, shape in expected_shapes(decoder.config)
            if name.startswith("model.layers.") and name.endswith("_proj.weight")
        }
        """Of the projections of all layers."""
        self._free_slots = list(range(max_adapters - 1, -1, -1))
        self._placed: dict[int, tuple[int, Adapter]] = {}
        """By id: the slot and the adapter."""

    @property
    def num_bytes(self) -> int:
        """What all of them take of memory."""
        return sum(adapter.num_bytes for _, adapter in self._placed.values())

    @property
    def reserved_bytes(self) -> int:
        """Upper estimate of what ``max_adapters`` of the largest rank take."""
        num_values = sum(map(sum, self._shapes.values()))
        width = self._decoder.ops.dtype.itemsize
        # B of a weight that stacks modules is packed with the ranks of all of them: at most 3.
        return 2 * self._max_adapters * self._max_rank * num_values * width

    def read(self, directory: Path) -> Adapter:
        """Read and pack an adapter; during a step, another thread may. Raises AdapterError."""
        config = self._decoder.config
        updates = read_peft_adapter(directory, self._layout, config, self._max_rank)
        low_ranks = []
        adapted: set[str] = set()
        for modules, weight in self._decoder.layer_weights():
            adapted.update(modules)
            parts = self._parts(modules, updates)
            if parts:
                low_ranks.append((weight, self._decoder.ops.pack_low_rank(weight, parts)))
        for module in updates.keys() - adapted:
            raise AdapterError(
                f"The adapter in '{directory}' adapts '{module}'. Headrace adapts no experts of a "
                "mixture. Merge the adapter into its model."
            )
        return Adapter(low_ranks)

    def zeros(self) -> Adapter:
        """An adapter that changes nothing, but has a part in every weight of the first layer."""
        low_ranks = []
        num_layers = self._decoder.config.num_layers
        weights = list(self._decoder.layer_weights())
        for modules, weight in weights[: len(weights) // num_layers]:
            if not modules:
                continue
            height, width = self._shapes[modules[0]]
            part = LowRankPart(0, torch.zeros(1, width), torch.zeros(height, 1))
            low_ranks.append((weight, self._decoder.ops.pack_low_rank(weight, [part])))
        return Adapter(low_ranks)

    def place(self, adapter_id: int, adapter: Adapter) -> None:
        """Raises AdapterError if all slots are taken, ValueError if the id is."""
        if adapter_id in self._placed:
            raise ValueError(f"adapter {adapter_id} is loaded")
        if not self._free_slots:
            raise AdapterError(
                f"{self._max_adapters} adapters are loaded, as many as --max-cpu-loras allows. "
                "Unload one, or start the server with a larger --max-cpu-loras."
            )
        slot = self._free_slots.pop()
        self._placed[adapter_id] = slot, adapter
        for weight, low_rank in adapter.low_ranks:
            self._decoder.ops.place_low_rank(weight, slot, low_rank)

    def remove(self, adapter_id: int) -> None:
        """Free an adapter, which no request uses; unknown ids are ignored."""
        if adapter_id not in self._placed:
            return
        slot, adapter = self._placed.pop(adapter_id)
        for weight, _ in adapter.low_ranks:
            self._decoder.ops.place_low_rank(weight, slot, None)
        self._free_slots.append(slot)

    def slot_of(self, adapter_id: int) -> int:
        """Raises KeyError if it is not loaded."""
        return self._placed[adapter_id][0]

    def _parts(
        self, modules: Sequence[str], updates: Mapping[str, LowRankMatrices]
    ) -> list[LowRankPart]:
        """The updates of the modules that a weight stacks."""
        parts: list[LowRankPart] = []
        first = 0
        for module in modules:
            update = updates.get(module)
            if update is not None:
                b = update.b
                if module.endswith((".q_proj", ".k_proj")):
                    b = rotary_order(b, self._decoder.config)
                if parts and parts[-1].a is update.a:  # they lie in one stored module
                    previous = parts.pop()
                    parts.append(previous._replace(b=torch.cat([previous.b, b])))
                else:
                    parts.append(LowRankPart(first, update.a, b))
            first += self._shapes[module][0]
        return parts
