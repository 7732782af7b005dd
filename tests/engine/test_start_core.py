"""A whole start on a tiny random model: every phase, every setting, and a core that computes."""

import time

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from headrace.core.errors import MemoryFitError, ModelError
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine import startup
from headrace.engine.config import EngineConfig
from headrace.engine.messages import AddRequest, StartupPhase
from headrace.engine.startup import StartedCore, start_core
from headrace.models.sources.files import ModelFiles

PHASES = [
    "import",
    "open checkpoint",
    "load weights",
    "fit memory",
    "allocate KV cache",
    "warm up",
]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=128,
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
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def files(model: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    path = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(path)
    return ModelFiles(name="tiny", format="huggingface", path=path)


def start(files: ModelFiles, reported: list[StartupPhase], **options: object) -> StartedCore:
    config = EngineConfig(
        model="tiny",
        device="cpu",
        num_threads=1,
        **{"dtype": "float32", "kv_cache_memory": "4MB", **options},  # type: ignore[arg-type]
    )
    return start_core(config, files, reported.append)


def complete(started: StartedCore, prompt: list[int], num_tokens: int) -> list[int]:
    params = SamplingParams(temperature=0.0, max_tokens=num_tokens, ignore_eos=True)
    started.core.add(AddRequest("a", prompt, params, time.monotonic(), 0, 0, ""))
    token_ids: list[int] = []
    while started.core.has_work:
        step = started.core.step()
        assert step is not None
        token_ids += [token for output in step.outputs for token in output.token_ids]
    return token_ids


def test_startup_reports_settings_and_outputs_match_transformers(
    files: ModelFiles, model: LlamaForCausalLM
) -> None:
    reported: list[StartupPhase] = []
    started = start(files, reported)
    ready = started.ready
    assert [name for name, _ in ready.phases] == PHASES
    assert [p.name for p in reported if p.seconds is not None] == PHASES
    settings = {name: value for name, value, _ in ready.settings}
    assert settings["architecture"] == "LlamaForCausalLM"
    assert settings["device"] == "cpu"
    assert settings["dtype"] == "float32"
    assert settings["threads"] == "1"
    assert settings["max_model_len"] == "256"
    assert all(value for value in settings.values())
    assert all(why for _, _, why in ready.settings)
    assert ready.vocab_size == 128
    assert ready.num_blocks * ready.block_size >= ready.max_model_len

    prompt = [1, 17, 90, 33, 5]
    with torch.inference_mode():
        expected = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=20,
            min_new_tokens=20,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    assert complete(started, prompt, 20) == expected[0, len(prompt) :].tolist()


def test_a_small_cache_lowers_the_context_with_a_reason(files: ModelFiles) -> None:
    started = start(files, [], kv_cache_memory="64KiB")
    assert 16 <= started.ready.max_model_len < 256
    reasons = {name: why for name, _, why in started.ready.settings}
    assert "lowered from 256" in reasons["max_model_len"]
    assert len(complete(started, [1, 2, 3], started.ready.max_model_len - 3)) > 0


def test_weights_that_do_not_fit_are_not_loaded(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "free_cpu_memory", lambda: 1000)
    reported: list[StartupPhase] = []
    with pytest.raises(MemoryFitError, match="weights need"):
        start(files, reported)
    assert reported[-1].name == "open checkpoint"


def test_a_context_above_the_models_is_refused_before_loading(files: ModelFiles) -> None:
    reported: list[StartupPhase] = []
    with pytest.raises(ModelError, match="257"):
        start(files, reported, max_model_len=257)
    assert reported[-1].name == "open checkpoint"
