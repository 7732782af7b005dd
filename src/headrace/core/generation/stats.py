"""Statistics of the engine core, sent with each step's outputs."""

import msgspec


class EngineStats(msgspec.Struct, frozen=True, array_like=True):
    """The engine core after one step. ``*_total`` count since start, the others are current."""

    num_running: int = 0
    num_waiting: int = 0
    num_blocks: int = 0
    num_used_blocks: int = 0
    """Blocks held by requests; cached blocks with no holder count as free."""
    prefix_cache_queries_total: int = 0
    """Tokens looked up in the prefix cache."""
    prefix_cache_hits_total: int = 0
    """Tokens found in the prefix cache."""
    num_preemptions_total: int = 0
    num_scheduled_tokens: int = 0
    """Tokens computed in this step."""

    @property
    def kv_cache_usage(self) -> float:
        """Fraction of blocks in use, 0 to 1."""
        return self.num_used_blocks / self.num_blocks if self.num_blocks else 0.0
