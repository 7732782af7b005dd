"""Steps as data: the runner computes the same from decoded messages as from the scheduler's own
objects, and an output continues elsewhere with the tokens it would have had."""

import msgspec
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.config import EngineConfig
from headrace.engine.engine_core import EngineCore
from headrace.engine.execution.runner import Runner
from headrace.engine.messages import AddRequest
from headrace.engine.startup import start_core
from headrace.models.sources.files import ModelFiles
from headrace.scheduler.output import RunnerOutput, SchedulerOutput

PARAMS = [
    SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True),
    SamplingParams(seed=7, max_tokens=24, temperature=0.8, top_p=0.9, top_k=40, ignore_eos=True),
    SamplingParams(
        seed=-5,
        max_tokens=24,
        min_tokens=20,
        presence_penalty=0.5,
        frequency_penalty=0.8,
        repetition_penalty=1.2,
        logit_bias={9: 1.0},
        stop_token_ids=(11, 12),
    ),
    SamplingParams(seed=3, max_tokens=24, ignore_eos=True, frequency_penalty=-1.0, logprobs=2),
]


class EncodingRunner:
    """Passes each step to the inner runner, and its result back, through msgpack."""

    def __init__(self, inner: Runner) -> None:
        self._inner = inner

    def execute(self, step: SchedulerOutput) -> RunnerOutput:
        sent = msgspec.msgpack.decode(msgspec.msgpack.encode(step), type=SchedulerOutput)
        computed = self._inner.execute(sent)
        return msgspec.msgpack.decode(msgspec.msgpack.encode(computed), type=RunnerOutput)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
    )
    path = tmp_path_factory.mktemp("tiny")
    LlamaForCausalLM(config).eval().save_pretrained(path)
    return ModelFiles(name="tiny", format="huggingface", path=path)


@pytest.fixture
def core(files: ModelFiles) -> EngineCore:
    config = EngineConfig(
        model="tiny",
        device="cpu",
        num_threads=1,
        dtype="float32",
        block_size=16,
        kv_cache_memory="48KiB",  # so little that requests are preempted
        max_model_len=80,
        max_num_batched_tokens=24,
    )
    return start_core(config, files, lambda phase: None).core


def add(
    core: EngineCore, request_id: str, params: SamplingParams, prior: list[int] | None = None
) -> None:
    prompt = [1, *range(3, 3 + len(request_id) * 9)]
    seed = params.seed or 0
    core.add(AddRequest(request_id, prompt, params, 0.0, 0, seed, "", prior or []))


def run(core: EngineCore) -> tuple[dict[str, list[int]], int]:
    """The new tokens by request, and how often requests were preempted."""
    token_ids: dict[str, list[int]] = {}
    num_preemptions = 0
    while core.has_work:
        step = core.step()
        assert step is not None
        num_preemptions = step.stats.num_preemptions_total
        for output in step.outputs:
            assert output.failure is None
            token_ids.setdefault(output.request_id, []).extend(output.token_ids)
    return token_ids, num_preemptions


def add_all(core: EngineCore) -> None:
    for place, params in enumerate(PARAMS):
        add(core, "r" * (place + 1), params)


def test_an_encoded_step_computes_the_same_tokens(core: EngineCore) -> None:
    add_all(core)
    expected, num_preemptions = run(core)
    assert num_preemptions > 0  # so that requests are sent a second time
    core._runner = EncodingRunner(core._runner)
    add_all(core)
    encoded, _ = run(core)
    assert encoded == expected
    assert all(len(token_ids) > 1 for token_ids in expected.values())


def test_steps_that_are_planned_ahead_compute_the_same_tokens(core: EngineCore) -> None:
    add_all(core)
    expected, num_preemptions = run(core)
    assert num_preemptions > 0
    core._scheduler.plan_ahead = lambda step: None  # type: ignore[method-assign]
    add_all(core)
    one_by_one, _ = run(core)
    assert one_by_one == expected


@pytest.mark.parametrize("params", PARAMS, ids=["greedy", "seed", "penalties", "logprobs"])
def test_a_continued_output_has_the_tokens_of_the_uninterrupted_one(
    core: EngineCore, params: SamplingParams
) -> None:
    add(core, "one", params)
    whole = run(core)[0]["one"]
    for num_prior in {1, len(whole) // 2, len(whole) - 1}:
        add(core, "two", params, whole[:num_prior])  # an id of the same length: the same prompt
        assert run(core)[0]["two"] == whole[num_prior:]
