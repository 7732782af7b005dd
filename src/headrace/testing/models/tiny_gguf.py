"""The tiny models as GGUF files, quantized or not, whole or split.

Writes what llama.cpp's converter would write for the models of tiny_models.
"""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch

from headrace.models.sources.files import ModelFiles
from headrace.testing.models.gguf_conversion import add_metadata, gguf_weights
from headrace.testing.models.tiny_families import FAMILIES, TinyArchitecture
from headrace.testing.models.tiny_models import MAX_POSITION, VOCAB_SIZE, build_tiny_model
from headrace.testing.models.tiny_tokenizer import (
    BOS_TOKEN_ID,
    CHAT_TEMPLATE,
    EOS_TOKEN_ID,
    GgufVocabulary,
    gguf_vocabulary,
)


def write_tiny_gguf(
    path: Path,
    architecture: TinyArchitecture = "llama",
    *,
    quantization: str = "F32",
    seed: int = 0,
    vocab_size: int = VOCAB_SIZE,
    max_position: int = MAX_POSITION,
    max_tensors_per_file: int = 0,
    control_tokens: tuple[str, ...] = (),
    eos_token_id: int = EOS_TOKEN_ID,
    chat_template: str = CHAT_TEMPLATE,
    **changes: Any,
) -> ModelFiles:
    """The weights of ``build_tiny_model`` for the same arguments.

    quantization: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 or Q5_1, of the matrices; vectors stay F32.
    max_tensors_per_file: 0 for one file; else parts are named after ``path``, and the first one
    is the model's path.
    control_tokens: texts of special tokens, which take the last ids of the vocabulary.
    """
    model = build_tiny_model(
        architecture, seed=seed, vocab_size=vocab_size, max_position=max_position, **changes
    )
    writer = gguf.GGUFWriter(
        path, FAMILIES[architecture].gguf, split_max_tensors=max_tensors_per_file
    )
    add_metadata(writer, architecture, model.config)
    _add_tokenizer(writer, gguf_vocabulary(vocab_size, control_tokens), eos_token_id, chat_template)
    kind = gguf.GGMLQuantizationType[quantization]
    for name, weight in gguf_weights(model, architecture).items():
        _add_tensor(writer, name, weight, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    written = (
        path if path.exists() else next(iter(sorted(path.parent.glob(f"{path.stem}-00001-*"))))
    )
    return ModelFiles(name=f"tiny-{architecture}", format="gguf", path=written)


def _add_tokenizer(
    writer: Any, vocabulary: GgufVocabulary, eos_token_id: int, chat_template: str
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(BOS_TOKEN_ID)
    writer.add_eos_token_id(eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template)


def _add_tensor(
    writer: Any, name: str, weight: torch.Tensor, kind: gguf.GGMLQuantizationType
) -> None:
    array: npt.NDArray[np.float32] = weight.detach().float().contiguous().numpy()
    if weight.dim() == 1:
        kind = gguf.GGMLQuantizationType.F32
    writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
