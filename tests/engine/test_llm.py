"""The offline interface over the fake core, called as vLLM's."""

import dataclasses

import pytest

from headrace import LLM, SamplingParams
from headrace.core.errors import ContextLengthError, InvalidParameterError, InvalidRequestError
from headrace.core.generation.outputs import FinishReason
from headrace.engine import llm as llm_module
from headrace.engine.config import EngineConfig
from headrace.engine.startup import Report, StartedCore
from headrace.models.sources.files import ModelFiles
from headrace.testing.fakes import fake_core
from headrace.testing.fakes.fake_runner import FAILURE


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch, fake_files: ModelFiles) -> LLM:
    monkeypatch.setattr(llm_module, "start_core", fake_core.build)
    return LLM(str(fake_files.path), max_model_len=64)


def params(max_tokens: int = 5, **changes: object) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, ignore_eos=True, **changes)  # type: ignore[arg-type]


def test_completions_come_in_the_order_of_the_prompts(llm: LLM) -> None:
    prompts = ["w1 w2", "w3", "w4 w5 w6"]
    outputs = llm.generate(prompts, params(), use_tqdm=False)
    assert [output.prompt for output in outputs] == prompts
    assert [output.prompt_token_ids for output in outputs] == [[1, 2], [3], [4, 5, 6]]
    for output in outputs:
        assert output.finished
        choice = output.outputs[0]
        assert len(choice.token_ids) == 5
        assert choice.text == llm.get_tokenizer().decode(choice.token_ids)
        assert choice.finish_reason == FinishReason.LENGTH
        assert choice.logprobs is None


def test_a_single_prompt_gives_a_list_of_one(llm: LLM) -> None:
    (output,) = llm.generate("w1 w2", params())
    assert output.prompt == "w1 w2"


def test_all_prompt_forms_are_equivalent(llm: LLM) -> None:
    outputs = llm.generate(
        ["w1 w2", [1, 2], {"prompt": "w1 w2"}, {"prompt_token_ids": [1, 2]}],
        params(),
        use_tqdm=False,
    )
    (flat,) = llm.generate([1, 2], params(), use_tqdm=False)
    tokens = [output.outputs[0].token_ids for output in [*outputs, flat]]
    assert tokens == [tokens[0]] * 5


TEMPLATE = (
    "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}w7{% endif %}"
)


def test_chats_are_rendered_with_the_template(llm: LLM) -> None:
    one = [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]
    other = [{"role": "user", "content": "w3"}]
    (alone,) = llm.chat(one, params(), use_tqdm=False, chat_template=TEMPLATE)
    assert alone.prompt == "w1 w2 w7"
    assert alone.prompt_token_ids == [1, 2, 7]
    both = llm.chat([one, other], params(), use_tqdm=False, chat_template=TEMPLATE)
    assert [output.prompt_token_ids for output in both] == [[1, 2, 7], [3, 7]]


def test_a_model_without_a_template_is_an_error(llm: LLM) -> None:
    with pytest.raises(InvalidRequestError, match="no chat template"):
        llm.chat([{"role": "user", "content": "w1"}], params())


def test_each_prompt_may_have_its_own_params(llm: LLM) -> None:
    outputs = llm.generate(["w1", "w2"], [params(3), params(7, n=2)], use_tqdm=False)
    lengths = [[len(choice.token_ids) for choice in output.outputs] for output in outputs]
    assert lengths == [[3], [7, 7]]


def test_there_are_logprobs_for_each_token(llm: LLM) -> None:
    (output,) = llm.generate("w1", params(4, logprobs=2), use_tqdm=False)
    logprobs = output.outputs[0].logprobs
    assert logprobs is not None
    assert [entry.token_id for entry in logprobs] == output.outputs[0].token_ids
    assert [len(entry.top) for entry in logprobs] == [2] * 4


def test_a_stop_string_ends_only_its_request(llm: LLM) -> None:
    (whole,) = llm.generate("w1", params(6), use_tqdm=False)
    word = llm.get_tokenizer().decode([whole.outputs[0].token_ids[2]]).strip()
    stopped, other = llm.generate(["w1", "w2"], params(6, stop=(word,)), use_tqdm=False)
    assert stopped.outputs[0].finish_reason == FinishReason.STOP
    assert stopped.outputs[0].stop_reason == word
    assert word not in stopped.outputs[0].text.split()
    assert len(other.outputs[0].token_ids) == 6


def test_a_failed_prompt_does_not_affect_others(
    monkeypatch: pytest.MonkeyPatch, fake_files: ModelFiles
) -> None:
    def build(config: EngineConfig, files: ModelFiles, report: Report) -> StartedCore:
        failing = dataclasses.replace(config, model="fake?failing_token_id=7")
        return fake_core.build(failing, files, report)

    monkeypatch.setattr(llm_module, "start_core", build)
    llm = LLM(str(fake_files.path), max_model_len=64)
    bad, good = llm.generate(["w1 w7", "w1 w2"], params(), use_tqdm=False)
    assert bad.finished
    assert bad.outputs[0].finish_reason == FinishReason.ERROR
    assert bad.outputs[0].failure == FAILURE
    assert good.outputs[0].failure is None
    assert len(good.outputs[0].token_ids) == 5


def test_more_prompts_than_can_run_at_once(llm: LLM) -> None:
    outputs = llm.generate([[1 + i % 900, 2, 3] for i in range(600)], params(20), use_tqdm=False)
    assert all(len(output.outputs[0].token_ids) == 20 for output in outputs)


def test_one_invalid_prompt_leaves_no_requests(llm: LLM) -> None:
    with pytest.raises(ContextLengthError):
        llm.generate(["w1", [1] * 64], params(), use_tqdm=False)
    with pytest.raises(InvalidParameterError, match="prompt_token_ids"):
        llm.generate(["w1", {"text": "w1"}], params(), use_tqdm=False)
    with pytest.raises(InvalidParameterError, match="2 for 1 prompts"):
        llm.generate(["w1"], [params(), params()], use_tqdm=False)
    assert len(llm.generate("w1", params(), use_tqdm=False)) == 1


def test_an_interrupt_aborts_running_requests(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(llm._outputs, "process", interrupt)
        with pytest.raises(KeyboardInterrupt):
            llm.generate(["w1", "w2"], params(), use_tqdm=False)
    (output,) = llm.generate("w3", params(), use_tqdm=False)
    assert len(output.outputs[0].token_ids) == 5


def test_missing_params_use_the_defaults(llm: LLM) -> None:
    (output,) = llm.generate("w1", use_tqdm=False)
    assert 1 <= len(output.outputs[0].token_ids) <= 16


def test_no_prompts_give_no_outputs(llm: LLM) -> None:
    assert llm.generate([], params(), use_tqdm=False) == []


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="tensor_parallel_size"):
        LLM("model", tensor_parallel_size=2)
