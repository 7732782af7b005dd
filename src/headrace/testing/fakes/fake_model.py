"""The model ``parrot``: it has no weights, its tokens are bytes, and it repeats its prompt's end.

With the fake core it makes a whole server without a model, whose output is predictable.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from headrace.engine.tokenization.byte_level import byte_of_character
from headrace.models.sources.files import ModelFiles

EOS_TOKEN_ID = 256
"""Tokens [0, 256) are bytes."""
VOCAB_SIZE = 257
PERIOD = 16
"""It repeats the token this number of positions before: the prompt's end."""

CHAT_TEMPLATE = (
    "{% if add_generation_prompt %}>{% endif %}"
    "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"
)


END = "<END>"
"""What the parrot says after the output of a script."""


SCRIPT_PERIOD = 600
"""Bytes of a script: it is for ``parrot?period=600``."""


def script(output: str) -> str:
    """The end of a prompt after which the parrot says the output, and then END."""
    said = output + END
    return said + "." * (SCRIPT_PERIOD - len(said.encode()))


def fake_name(model: str) -> str:
    """The fake core's name for ``parrot``, or ``parrot?step_s=0.01``, or the like."""
    name, _, query = model.partition("?")
    return f"{name}?vocab_size={VOCAB_SIZE}&eos_token_id={EOS_TOKEN_ID}&period={PERIOD}&{query}"


def write_model(directory: Path) -> ModelFiles:
    """A tokenizer of bytes in Hugging Face layout."""
    tokenizer = Tokenizer(BPE(vocab=byte_of_character(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<eos>", special=True)])
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<eos>",
        "chat_template": CHAT_TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    config = {"model_type": "llama", "eos_token_id": EOS_TOKEN_ID}
    (directory / "config.json").write_text(json.dumps(config))
    return ModelFiles(name="parrot", format="huggingface", path=directory)
