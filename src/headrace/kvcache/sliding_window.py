"""Which blocks a request needs when no layer of the model sees further back than a window."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindow:
    """The window of all layers."""

    size: int
    """Positions that a token attends to, its own among them."""
    max_num_batched_tokens: int
    """Tokens of one request that a step computes, at most."""

    def __post_init__(self) -> None:
        for name in ("size", "max_num_batched_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @classmethod
    def shorter_than(
        cls, max_model_len: int, size: int | None, max_num_batched_tokens: int
    ) -> "SlidingWindow | None":
        """The window of a model; None if it has none (``size`` None), or none that hides anything
        of a request."""
        if size is None or size >= max_model_len:
            return None
        return cls(size=size, max_num_batched_tokens=max_num_batched_tokens)

    def first_block(self, position: int, block_size: int) -> int:
        """The first block that this position or a later one sees."""
        return max(0, position + 1 - self.size) // block_size

    def num_prefix_blocks(self, block_size: int) -> int:
        """Full blocks before a position at the start of a block that must be cached for it; at
        least one, so that a cached prefix is never without content."""
        return max(1, -(-(self.size - 1) // block_size))

    def max_blocks(self, block_size: int) -> int:
        """Blocks that one request of any length needs at once.

        A step reads the window of its first position and writes its own tokens. What is before the
        window is freed when a block becomes full: one block more.
        """
        num_new = -(-(self.max_num_batched_tokens - 1) // block_size)
        return self.num_prefix_blocks(block_size) + num_new + 1


def num_request_blocks(num_tokens: int, block_size: int, window: SlidingWindow | None) -> int:
    """Blocks that one request of this length needs at once."""
    num_blocks = -(-num_tokens // block_size)
    return num_blocks if window is None else min(num_blocks, window.max_blocks(block_size))
