"""Loads a model and its tokenizer into transformers' own classes."""

import contextlib
import io
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.sources.files import ModelFiles

BaselineDType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class LoadedModel:
    """A transformers model on its device, with its tokenizer."""

    name: str
    model: Any
    """A PreTrainedModel; transformers' own types are too loose to help."""
    tokenizer: Any
    """A PreTrainedTokenizerBase."""
    max_model_len: int
    """Longest prompt plus output, in tokens."""


def load_model(files: ModelFiles, dtype: BaselineDType) -> LoadedModel:
    """Read everything into memory; raises ModelError with one line for the user."""
    read = _read_gguf if files.format == "gguf" else _read_directory
    try:
        model, tokenizer = read(files, getattr(torch, dtype))
    except (ValueError, KeyError, NotImplementedError, ImportError) as error:
        raise UnsupportedModelError(
            f"transformers cannot load '{files.name}': {error}. The baseline runs only what "
            "transformers runs."
        ) from error
    except OSError as error:
        raise ModelFileError(f"transformers cannot read '{files.path}': {error}") from error
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.eval()
    return LoadedModel(
        name=files.name,
        model=model,
        tokenizer=tokenizer,
        max_model_len=model.config.max_position_embeddings,
    )


_LOCAL = {"trust_remote_code": False, "local_files_only": True}
"""Code that comes with a model is not run, and nothing is fetched."""


def _read_directory(files: ModelFiles, dtype: torch.dtype) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(files.path, dtype=dtype, **_LOCAL)
    return model, AutoTokenizer.from_pretrained(files.path, **_LOCAL)


def _read_gguf(files: ModelFiles, dtype: torch.dtype) -> tuple[Any, Any]:
    # from_pretrained(gguf_file=...) does these steps too, but only where accelerate is installed.
    from transformers import modeling_gguf_pytorch_utils as gguf

    named = {"gguf_file": files.path.name, **_LOCAL}
    config = AutoConfig.from_pretrained(files.path.parent, **named)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)  # type: ignore[no-untyped-call]
    with contextlib.redirect_stderr(io.StringIO()):  # its bar would fill a log
        checkpoint = gguf.load_gguf_checkpoint(  # type: ignore[no-untyped-call]
            str(files.path), return_tensors=True, model_to_load=model, torch_dtype=dtype
        )
    result = model.load_state_dict(checkpoint["tensors"], strict=False)
    model.tie_weights()
    missing = sorted(set(result.missing_keys) - set(model.all_tied_weights_keys))
    if missing:
        raise ModelFileError(f"'{files.path}' lacks weights that its model needs: {missing[0]}.")
    return model, AutoTokenizer.from_pretrained(files.path.parent, **named)
