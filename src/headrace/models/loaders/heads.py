"""Reads how many heads of keys and values the heads of queries share.

Knows no file format: it is told under which key the number stands.
"""

from headrace.core.errors import ModelFileError
from headrace.models.loaders.metadata import Metadata


def read_num_kv_heads(config: Metadata, key: str, num_heads: int) -> int:
    """As many as there are heads of queries, if the model does not say."""
    num_kv_heads = config.integer(key, num_heads)
    if num_heads % num_kv_heads:
        raise ModelFileError(
            f"{config.where} says {num_heads} heads of queries, which {num_kv_heads} heads of "
            "keys cannot share evenly."
        )
    return num_kv_heads
