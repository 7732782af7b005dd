"""What is measured: Headrace's offline engine, and transformers' ``generate``.

Both read the same folder, compute in the same type and draw greedily; a batch is timed from its
submission to its last token.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

Prompts = Sequence[Sequence[int]]


class Peer(Protocol):
    """A loaded model."""

    settings: dict[str, str]
    """What it runs with, for the result file."""

    def generate_s(self, prompts: Prompts, output_len: int) -> float:
        """Seconds for this number of tokens after each prompt, end tokens ignored.

        Raises RuntimeError if it gave another number of tokens.
        """
        ...


class Headrace:
    """``headrace.LLM`` with its default options; all prompts are submitted at once."""

    def __init__(
        self, directory: Path, device: str, dtype: str, max_num_seqs: int, max_model_len: int,
        max_num_batched_tokens: int,
    ) -> None:  # fmt: skip
        from headrace import LLM

        self._llm = LLM(
            str(directory),
            device=device,
            dtype=dtype,
            max_num_seqs=max_num_seqs,
            max_model_len=max_model_len,
            max_num_batched_tokens=max_num_batched_tokens,
        )
        self.settings = {name: value for name, value, _ in self._llm.ready.settings}

    def generate_s(self, prompts: Prompts, output_len: int) -> float:
        from headrace import SamplingParams

        params = SamplingParams(temperature=0.0, max_tokens=output_len, ignore_eos=True)
        requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        began = time.perf_counter()
        outputs = self._llm.generate(requests, params, use_tqdm=False)
        seconds = time.perf_counter() - began
        for output in outputs:
            _check_len(len(output.outputs[0].token_ids), output_len)
        return seconds


class Transformers:
    """``generate`` as its users call it: static batches, a dynamic cache, PyTorch's attention."""

    def __init__(self, directory: Path, device: str, dtype: str, batch_size: int) -> None:
        import transformers

        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=getattr(torch, dtype), local_files_only=True
        )
        self._model = model.to(device).eval()
        self._device = torch.device(device)
        self._batch_size = batch_size
        self.settings = {
            "version": transformers.__version__,
            "attention": str(model.config._attn_implementation),
            "batch size": str(batch_size),
        }

    @torch.inference_mode()
    def generate_s(self, prompts: Prompts, output_len: int) -> float:
        self._synchronize()
        began = time.perf_counter()
        for start in range(0, len(prompts), self._batch_size):
            batch = [list(prompt) for prompt in prompts[start : start + self._batch_size]]
            token_ids = torch.tensor(batch, device=self._device)
            output = self._model.generate(
                token_ids,
                attention_mask=torch.ones_like(token_ids),
                do_sample=False,
                min_new_tokens=output_len,
                max_new_tokens=output_len,
                pad_token_id=0,
            )
            self._synchronize()
            _check_len(output.shape[1] - token_ids.shape[1], output_len)
        return time.perf_counter() - began

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _check_len(actual: int, expected: int) -> None:
    if actual != expected:
        raise RuntimeError(f"{actual} tokens came where {expected} were asked for")
