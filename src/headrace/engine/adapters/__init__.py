"""LoRA adapters of a running engine: loaded, unloaded, and applied to the rows of a step."""
