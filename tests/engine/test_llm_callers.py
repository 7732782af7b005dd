"""An LLM accepts one caller at a time; a second thread gets an error."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from headrace import LLM, SamplingParams
from headrace.core.errors import ConcurrentCallError, InvalidParameterError
from headrace.core.generation.outputs import RequestOutput
from headrace.engine import llm as llm_module
from headrace.models.sources.files import ModelFiles
from headrace.testing.fakes import fake_core

DEADLINE_S = 20.0
PARAMS = SamplingParams(max_tokens=5, ignore_eos=True)
CHAT = [{"role": "user", "content": "w1"}]


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch, fake_files: ModelFiles) -> LLM:
    monkeypatch.setattr(llm_module, "start_core", fake_core.build)
    return LLM(str(fake_files.path), max_model_len=64)


class PromptThatWaits(Mapping[str, Any]):
    """Its text blocks until it is released: until then, the call that reads it is in the LLM."""

    def __init__(self) -> None:
        self.is_read = threading.Event()
        self.released = threading.Event()

    def __getitem__(self, key: str) -> Any:
        self.is_read.set()
        assert self.released.wait(DEADLINE_S)
        return {"prompt": "w1 w2"}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["prompt"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "second",
    [
        lambda llm: llm.generate("w3", PARAMS, use_tqdm=False),
        lambda llm: llm.chat(CHAT, PARAMS, False, chat_template="{{ messages[0].content }}"),
    ],
    ids=["generate", "chat"],
)
def test_a_second_thread_gets_an_error(llm: LLM, second: Callable[[LLM], object]) -> None:
    (alone,) = llm.generate("w1 w2", PARAMS, use_tqdm=False)
    prompt = PromptThatWaits()
    outputs: list[RequestOutput] = []
    first = threading.Thread(
        target=lambda: outputs.extend(llm.generate(prompt, PARAMS, use_tqdm=False))
    )
    first.start()
    try:
        assert prompt.is_read.wait(DEADLINE_S)
        with pytest.raises(ConcurrentCallError):
            second(llm)
    finally:
        prompt.released.set()
        first.join()
    (after,) = llm.generate("w1 w2", PARAMS, use_tqdm=False)
    for output in (*outputs, after):
        assert output.outputs[0].token_ids == alone.outputs[0].token_ids
    assert len(outputs) == 1


def test_the_llm_is_usable_after_an_error(llm: LLM) -> None:
    with pytest.raises(InvalidParameterError):
        llm.generate({"text": "w1"}, PARAMS, use_tqdm=False)
    assert len(llm.generate("w1", PARAMS, use_tqdm=False)) == 1
