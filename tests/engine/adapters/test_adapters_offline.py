"""Requests with different adapters, and with none, in one engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace import LLM, LoRARequest, RequestOutput, SamplingParams
from headrace.core.errors import AdapterError, InvalidParameterError
from headrace.testing.models.tiny_adapters import write_tiny_adapter
from headrace.testing.models.tiny_models import write_tiny_model

PARAMS = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True, logprobs=1)
PROMPT = [5, 9, 77, 31, 200, 14, 8, 9, 77, 31, 201, 15, 100, 3, 44, 60, 61, 9]


@dataclass(frozen=True)
class Setup:
    model: Path
    first: LoRARequest
    second: LoRARequest


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("adapters")
    write_tiny_model(folder / "model", max_position=256)
    write_tiny_adapter(folder / "first", seed=1)
    write_tiny_adapter(folder / "second", seed=2, r=9, target_modules=["v_proj", "gate_proj"])
    return Setup(
        folder / "model",
        LoRARequest("first", 1, str(folder / "first")),
        LoRARequest("second", 2, str(folder / "second")),
    )


def start(setup: Setup, **options: object) -> LLM:
    settings: dict[str, object] = {
        "dtype": "bfloat16",
        "kv_cache_memory": "16MiB",
        "block_size": 8,
        "enable_lora": True,
        **options,
    }
    return LLM(str(setup.model), **settings)


@pytest.fixture(scope="module")
def llm(setup: Setup) -> LLM:
    return start(setup)


def generate(
    llm: LLM, prompts: Sequence[Sequence[int]], adapters: Sequence[LoRARequest | None]
) -> list[RequestOutput]:
    return llm.generate(list(prompts), PARAMS, use_tqdm=False, lora_request=adapters)


def choices(outputs: Sequence[RequestOutput]) -> list[object]:
    """The tokens and their log-probabilities, to the last bit."""
    return [(output.outputs[0].token_ids, output.outputs[0].logprobs) for output in outputs]


def num_preemptions(llm: LLM) -> int:
    scheduler = llm._core._scheduler
    return scheduler.stats(0).num_preemptions_total


def test_a_mixed_batch_equals_single_requests(llm: LLM, setup: Setup) -> None:
    adapters = [None, setup.first, setup.second, None, setup.first, setup.second, setup.first]
    prompts = [PROMPT[: 3 + 2 * index] for index in range(len(adapters))]
    alone = [
        generate(llm, [prompt], [adapter])[0]
        for prompt, adapter in zip(prompts, adapters, strict=True)
    ]
    mixed = generate(llm, prompts, adapters)
    assert choices(mixed) == choices(alone)
    same_prompt = generate(llm, [PROMPT] * 3, [None, setup.first, setup.second])
    assert len({tuple(each.outputs[0].token_ids) for each in same_prompt}) == 3


def test_an_engine_with_adapters_computes_plain_requests_as_one_without(setup: Setup) -> None:
    without = start(setup, enable_lora=False).generate([PROMPT], PARAMS, use_tqdm=False)
    engine = start(setup)
    assert choices(engine.generate([PROMPT], PARAMS, use_tqdm=False)) == choices(without)
    mixed = generate(engine, [PROMPT, PROMPT], [setup.first, None])
    assert choices(mixed[1:]) == choices(without)


def test_prefixes_are_not_shared_between_adapters(llm: LLM, setup: Setup) -> None:
    prompt = [7, *PROMPT, *PROMPT]
    order = [None, setup.first, setup.second]
    fresh = [generate(llm, [prompt], [adapter])[0] for adapter in order]
    again = [generate(llm, [prompt], [adapter])[0] for adapter in order]
    assert [each.num_cached_tokens for each in fresh] == [0, 0, 0]
    assert [each.num_cached_tokens for each in again] == [32, 32, 32]
    assert choices(again) == choices(fresh)


def test_an_adapter_that_is_loaded_again_finds_no_old_prefix(setup: Setup, tmp_path: Path) -> None:
    llm = start(setup, max_loras=1)
    path = tmp_path / "changing"
    request = LoRARequest("changing", 3, str(path))
    write_tiny_adapter(path, seed=3)
    first = generate(llm, [PROMPT], [request])
    generate(llm, [PROMPT], [setup.first])  # takes the only place
    write_tiny_adapter(path, seed=4)
    second = generate(llm, [PROMPT], [request])
    assert second[0].num_cached_tokens == 0
    assert choices(second) != choices(first)


def test_preempted_requests_resume_with_their_adapter(llm: LLM, setup: Setup) -> None:
    prompts = [[index, *PROMPT] for index in range(1, 7)]
    adapters = [setup.first, None, setup.second] * 2
    params = PARAMS.replace(max_tokens=60)
    small = start(setup, kv_cache_memory="80KiB", max_model_len=96, enable_prefix_caching=False)
    outputs = small.generate(prompts, params, use_tqdm=False, lora_request=adapters)
    assert num_preemptions(small) > 0
    expected = llm.generate(prompts, params, use_tqdm=False, lora_request=adapters)
    assert choices(outputs) == choices(expected)


def test_no_more_adapters_than_max_loras_run_at_once(setup: Setup) -> None:
    llm = start(setup, max_loras=1, max_cpu_loras=2)
    adapters = [setup.first, setup.second, None, setup.first]
    outputs = generate(llm, [PROMPT] * 4, adapters)
    alone = [generate(llm, [PROMPT], [adapter])[0] for adapter in adapters]
    assert choices(outputs) == choices(alone)


def test_the_number_of_adapters_of_one_call_is_bounded(setup: Setup) -> None:
    llm = start(setup, max_loras=1)
    with pytest.raises(AdapterError):
        generate(llm, [PROMPT] * 2, [setup.first, setup.second])
    assert generate(llm, [PROMPT], [setup.second])[0].outputs[0].token_ids


def test_adapters_need_enable_lora(setup: Setup) -> None:
    llm = start(setup, enable_lora=False)
    with pytest.raises(AdapterError):
        generate(llm, [PROMPT], [setup.first])


def test_one_adapter_for_each_prompt(llm: LLM, setup: Setup) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        generate(llm, [PROMPT] * 2, [setup.first])
    assert caught.value.param == "lora_request"
