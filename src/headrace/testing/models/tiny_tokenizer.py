"""A small byte-level tokenizer with a chat template, built on demand for tiny models."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

BOS, EOS = "<s>", "</s>"
BOS_TOKEN_ID, EOS_TOKEN_ID = 0, 1
MIN_VOCAB_SIZE = 258
"""The two special tokens and every byte."""

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message['role'] }}: {{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)

_TEXTS = [
    "the water of the mill runs down the wheel and the wheel turns the stone",
    "user: what is the name of the channel? assistant: the channel is the headrace",
    "system: answer in few words and be kind to those who ask",
]


@dataclass(frozen=True, slots=True)
class GgufVocabulary:
    """What GGUF stores of a tokenizer of GPT-2's kind."""

    tokens: list[str]
    types: list[int]
    merges: list[str]


def build_tokenizer(vocab_size: int) -> Tokenizer:
    """Deterministic, with at most vocab_size tokens: every byte and a few words."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=max(vocab_size, MIN_VOCAB_SIZE),
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer


def write_tokenizer(directory: Path, vocab_size: int, max_position: int) -> None:
    """tokenizer.json and tokenizer_config.json."""
    build_tokenizer(vocab_size).save(str(directory / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": max_position,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


def gguf_vocabulary(vocab_size: int, control_tokens: tuple[str, ...] = ()) -> GgufVocabulary:
    """The same tokenizer for GGUF, padded to the size with unused tokens, and at
    the end with these."""
    from gguf import TokenType

    content = json.loads(build_tokenizer(vocab_size - len(control_tokens)).to_str())["model"]
    tokens = sorted(content["vocab"], key=content["vocab"].__getitem__)
    num_special = 2
    types = [TokenType.CONTROL] * num_special + [TokenType.NORMAL] * (len(tokens) - num_special)
    num_unused = vocab_size - len(tokens) - len(control_tokens)
    tokens += [f"[unused{i}]" for i in range(num_unused)]
    types += [TokenType.UNUSED] * num_unused
    tokens += control_tokens
    types += [TokenType.CONTROL] * len(control_tokens)
    merges = [" ".join(pair) for pair in content["merges"]]
    return GgufVocabulary(tokens, [int(kind) for kind in types], merges)
