"""A model whose layers all have a sliding window, with a KV cache that holds less than the context.

Its window is 48 tokens. Requests of up to 500 are served by fewer than 200 tokens of cache.
"""

from dataclasses import replace

import pytest
import torch

from headrace import LLM, SamplingParams
from headrace.core.clock import MonotonicClock
from headrace.core.generation.outputs import TokenLogprobs
from headrace.core.generation.stats import EngineStats
from headrace.engine.config import EngineConfig
from headrace.engine.engine_core import EngineCore
from headrace.engine.execution.model_runner import build_runner
from headrace.engine.messages import AddRequest
from headrace.engine.startup import build_scheduler
from headrace.kvcache.sliding_window import SlidingWindow
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_models import VOCAB_SIZE, build_tiny_model, write_tiny_model

WINDOW = 48
BLOCK_SIZE = 16
MAX_NUM_BATCHED_TOKENS = 64
MAX_MODEL_LEN = 512
NUM_BLOCKS = 8
"""What one request needs: three of the window, four of a step, one until the next block is full."""

Outputs = dict[str, list[TokenLogprobs]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return write_tiny_model(tmp_path_factory.mktemp("mistral"), "mistral")


def token_ids(length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB_SIZE, (length,), generator=generator).tolist()


def test_logits_beyond_the_window_are_those_of_transformers(files: ModelFiles) -> None:
    llm = LLM(
        str(files.path),
        dtype="float32",
        block_size=BLOCK_SIZE,
        max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS,
        kv_cache_memory=f"{NUM_BLOCKS * BLOCK_SIZE}KiB",  # a token has 1 KiB
    )
    assert llm.ready.num_blocks == NUM_BLOCKS
    assert llm.ready.max_model_len == MAX_MODEL_LEN
    prompt = token_ids(300, seed=1)
    params = SamplingParams(
        max_tokens=150, temperature=0.0, ignore_eos=True, logprobs=0, prompt_logprobs=0
    )
    [output] = llm.generate([prompt], params, use_tqdm=False)
    completion = output.outputs[0]
    tokens = [*prompt, *completion.token_ids]
    with torch.inference_mode():
        logits = build_tiny_model("mistral")(torch.tensor([tokens])).logits[0]
    expected = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(tokens)[1:, None])[:, 0]
    assert completion.logprobs is not None
    assert output.prompt_logprobs is not None
    ours = [entry.logprob for entry in output.prompt_logprobs[1:] if entry is not None]
    ours += [entry.logprob for entry in completion.logprobs]
    torch.testing.assert_close(torch.tensor(ours), expected, atol=1e-4, rtol=0.0)
    assert (expected[-150:] >= logits.log_softmax(-1)[:-1].amax(-1)[-150:] - 1e-4).all()


def test_blocks_are_kept_where_a_layer_sees_the_whole_context(files: ModelFiles) -> None:
    decoder = open_checkpoint(files).config
    assert decoder.window_of_all_layers == WINDOW
    every_layer = tuple(range(decoder.num_layers))
    assert replace(decoder, sliding_window_layers=every_layer).window_of_all_layers == WINDOW
    assert replace(decoder, sliding_window_layers=(1,)).window_of_all_layers is None
    assert replace(decoder, sliding_window=None).window_of_all_layers is None


def make_core(
    files: ModelFiles, num_blocks: int, *, frees_blocks: bool, enable_prefix_caching: bool = True
) -> EngineCore:
    config = EngineConfig(
        model=files.name,
        block_size=BLOCK_SIZE,
        max_num_seqs=8,
        max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS,
        enable_prefix_caching=enable_prefix_caching,
    )
    checkpoint = open_checkpoint(files)
    runner = build_runner(checkpoint, config, torch.float32, torch.device("cpu"), 1)
    runner.allocate(num_blocks, MAX_MODEL_LEN)
    window = SlidingWindow(size=WINDOW, max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS)
    scheduler = build_scheduler(config, num_blocks, MAX_MODEL_LEN, window if frees_blocks else None)
    return EngineCore(scheduler, runner, frozenset(), VOCAB_SIZE, MonotonicClock())


def serve(core: EngineCore) -> tuple[Outputs, EngineStats]:
    """Requests that share a prefix or do not, longer and shorter than the window and the cache."""
    shared = token_ids(200, seed=0)
    prompts = [
        *(token_ids(length, seed=length) for length in (5, 6, 7, 8, 9)),  # short ones grow
        *([*shared, *token_ids(10 * n + 1, seed=n)] for n in range(1, 4)),
        *(token_ids(length, seed=length) for length in (40, 350)),
        [*shared, *token_ids(150, seed=9)],
    ]
    for index, prompt in enumerate(prompts):
        params = SamplingParams(
            max_tokens=100, temperature=0.8 if index % 2 else 0.0, ignore_eos=True, logprobs=2
        )
        core.add(AddRequest(f"r{index}", prompt, params, 0.0, 0, index, ""))
    outputs: Outputs = {f"r{index}": [] for index in range(len(prompts))}
    stats = EngineStats()
    while core.has_work:
        step = core.step()
        assert step is not None
        stats = step.stats
        for output in step.outputs:
            assert output.failure is None
            outputs[output.request_id] += output.logprobs or []
    assert {len(entries) for entries in outputs.values()} == {100}
    assert stats.num_used_blocks == 0
    return outputs, stats


@pytest.fixture(scope="module")
def unfreed_outputs(files: ModelFiles) -> Outputs:
    """With room for the whole context of every request."""
    outputs, stats = serve(make_core(files, 8 * 32, frees_blocks=False))
    assert stats.num_preemptions_total == 0
    return outputs


@pytest.mark.parametrize(
    ("num_blocks", "enable_prefix_caching"),
    [(NUM_BLOCKS, True), (20, True), (20, False), (60, True)],
)
def test_freed_blocks_change_no_bit_of_any_output(
    files: ModelFiles, unfreed_outputs: Outputs, num_blocks: int, enable_prefix_caching: bool
) -> None:
    core = make_core(
        files, num_blocks, frees_blocks=True, enable_prefix_caching=enable_prefix_caching
    )
    outputs, stats = serve(core)
    assert outputs == unfreed_outputs
    if num_blocks == 60:
        assert stats.prefix_cache_hits_total > 0
    else:
        assert stats.num_preemptions_total > 0
