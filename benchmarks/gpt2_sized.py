"""Writes a model of GPT-2's size with random weights: 12 layers, 768 wide, 50,257 tokens.

Its output is meaningless, its cost is that of GPT-2. For comparisons of servers on machines without
access to a model hub.
"""

import argparse
import shutil
from pathlib import Path

import torch

from headrace.testing.models.tiny_models import write_tiny_model


def main() -> None:
    """Write it to the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--tokenizer",
        type=Path,
        help="folder of a model whose tokenizer is used; default: a token is a byte",
    )
    given = parser.parse_args()
    write_tiny_model(
        given.folder,
        dtype=torch.bfloat16,
        vocab_size=50257,
        max_position=1024,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        head_dim=64,
        intermediate_size=2048,  # three matrices of 768 x 2048 weigh what GPT-2's two do
        tie_word_embeddings=True,
    )
    if given.tokenizer is not None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(given.tokenizer / name, given.folder / name)


if __name__ == "__main__":
    main()
