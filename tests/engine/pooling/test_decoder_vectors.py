"""Vectors of decoders against transformers, however their prompts are divided into steps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headrace.core.errors import InvalidParameterError, TaskNotSupportedError
from headrace.core.generation.pooling import Pooling, PoolingParams
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.messages import AddRequest
from headrace.engine.startup import StartedCore
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.sentence_files import write_sentence_files
from headrace.testing.models.tiny_families import FAMILIES, TinyArchitecture
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import (
    MAX_POSITION,
    VOCAB_SIZE,
    build_tiny_model,
    write_tiny_model,
)
from headrace.testing.models.tiny_pooling import build_tiny_net, write_tiny_net
from headrace.testing.models.tiny_tokenizer import write_tokenizer
from headrace.testing.models.vectors import Vector, run, start, vectors

POOLINGS: tuple[Pooling, ...] = ("last", "mean", "cls")
GENERATOR = torch.Generator().manual_seed(3)
PROMPTS = [
    torch.randint(VOCAB_SIZE, (length,), generator=GENERATOR).tolist()
    for length in (1, 7, 40, 100, 33)
]


def reference(prompt: list[int], pooling: Pooling, normalize: bool = True) -> Vector:
    with torch.inference_mode():
        hidden = build_tiny_net("Qwen3")(torch.tensor([prompt])).last_hidden_state[0]
    rows = {"last": hidden[-1], "mean": hidden.mean(dim=0), "cls": hidden[0]}
    row = rows[pooling].numpy()
    return row / np.linalg.norm(row) if normalize else row


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return write_tiny_net(tmp_path_factory.mktemp("qwen3"), "Qwen3")


@pytest.fixture(scope="module", params=POOLINGS)
def pooling(request: pytest.FixtureRequest) -> Pooling:
    found: Pooling = request.param
    return found


@pytest.fixture(scope="module")
def chunked(files: ModelFiles, pooling: Pooling) -> StartedCore:
    """Prompts are computed in chunks of at most 16 tokens."""
    return start(files, pooling_type=pooling, max_num_batched_tokens=16)


def test_vectors_equal_those_of_transformers(chunked: StartedCore, pooling: Pooling) -> None:
    assert chunked.ready.pooling is not None
    assert (chunked.ready.pooling.task, chunked.ready.pooling.size) == ("embed", 64)
    for prompt, vector in zip(PROMPTS, vectors(chunked, PROMPTS), strict=True):
        np.testing.assert_allclose(vector, reference(prompt, pooling), atol=1e-4)


def test_a_cached_prefix_changes_nothing(chunked: StartedCore, pooling: Pooling) -> None:
    prompt = PROMPTS[3]
    first, second = run(chunked, [prompt]), run(chunked, [prompt])
    assert first[0].vector == second[0].vector
    # The mean and the first token's state need all hidden states, which the cache does not have.
    assert (second[0].num_cached_tokens > 0) == (pooling == "last")


def test_dimensions_truncate_and_normalize_again(chunked: StartedCore, pooling: Pooling) -> None:
    prompt = PROMPTS[2]
    whole = reference(prompt, pooling, normalize=False)
    wanted = [
        PoolingParams(),
        PoolingParams(dimensions=8),
        PoolingParams(dimensions=8, use_activation=False),
    ]
    default, short, raw = vectors(chunked, [prompt] * 3, wanted)
    np.testing.assert_allclose(default, whole / np.linalg.norm(whole), atol=1e-4)
    np.testing.assert_allclose(short, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-4)
    np.testing.assert_allclose(raw, whole[:8], atol=1e-3)


def test_sentence_transformers_files_choose_the_pooling(tmp_path: Path) -> None:
    model = write_tiny_net(tmp_path / "model", "Qwen3")
    write_sentence_files(model.path, "mean", normalize=False, max_seq_length=64)
    started = start(model)
    assert started.ready.max_model_len == 64
    [vector] = vectors(started, [PROMPTS[2]])
    np.testing.assert_allclose(vector, reference(PROMPTS[2], "mean", normalize=False), atol=1e-3)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("file_format", ["safetensors", "gguf"])
def test_a_model_that_generates_gives_vectors_with_task_embed(
    tmp_path: Path, file_format: str, tied: bool
) -> None:
    if file_format == "gguf":
        files = write_tiny_gguf(tmp_path / "llama.gguf", "llama", tie_word_embeddings=tied)
    else:
        files = write_tiny_model(tmp_path / "llama", "llama", tie_word_embeddings=tied)
    prompt = PROMPTS[1]
    with torch.inference_mode():
        net = build_tiny_model("llama", tie_word_embeddings=tied).base_model
        row = net(torch.tensor([prompt])).last_hidden_state[0, -1].numpy()
    [vector] = vectors(start(files, task="embed"), [prompt])
    np.testing.assert_allclose(vector, row / np.linalg.norm(row), atol=1e-4)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_the_net_of_each_family_gives_vectors(
    architecture: TinyArchitecture, tmp_path: Path
) -> None:
    net = build_tiny_model(architecture).base_model
    net.config.architectures = None  # save_pretrained writes that of the net
    net.save_pretrained(tmp_path)
    write_tokenizer(tmp_path, VOCAB_SIZE, MAX_POSITION)
    files = ModelFiles(name=architecture, format="huggingface", path=tmp_path)
    started = start(files, task="embed", max_num_batched_tokens=16)
    settings = {name: why for name, _, why in started.ready.settings}
    assert "transformers" not in settings["architecture"]
    prompt = PROMPTS[2]
    with torch.inference_mode():
        row = net(torch.tensor([prompt])).last_hidden_state[0, -1].numpy()
    [vector] = vectors(started, [prompt])
    np.testing.assert_allclose(vector, row / np.linalg.norm(row), atol=1e-4)


@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_classifiers(tmp_path: Path, family: str, num_labels: int) -> None:
    changes = {"num_labels": num_labels}
    files = write_tiny_net(tmp_path / "model", family, **changes)  # type: ignore[arg-type]
    started = start(files, max_num_batched_tokens=16)
    spec = started.ready.pooling
    assert spec is not None
    assert (spec.task, spec.size, spec.reads_pairs) == ("classify", num_labels, num_labels == 1)
    assert spec.labels == [f"LABEL_{index}" for index in range(num_labels)]
    with torch.inference_mode():
        net = build_tiny_net(family, **changes)  # type: ignore[arg-type]
        logits = net(torch.tensor([PROMPTS[2]])).logits[0]
    probabilities = logits.sigmoid() if num_labels == 1 else logits.softmax(0)
    params = [PoolingParams(), PoolingParams(use_activation=False)]
    found = vectors(started, [PROMPTS[2]] * 2, params)
    np.testing.assert_allclose(found[0], probabilities.numpy(), atol=1e-4)
    np.testing.assert_allclose(found[1], logits.numpy(), atol=1e-3)


def test_each_task_refuses_the_other(chunked: StartedCore, tmp_path: Path) -> None:
    generation = AddRequest("g", [1, 2], SamplingParams(max_tokens=1), 0.0, 0, 0, "")
    with pytest.raises(TaskNotSupportedError):
        chunked.core.add(generation)
    generator = start(write_tiny_model(tmp_path / "llama", "llama"))
    with pytest.raises(TaskNotSupportedError):
        run(generator, [[1, 2]])
    assert not generator.core.has_work


@pytest.mark.parametrize("dimensions", [0, 65])
def test_dimensions_out_of_range_are_refused(chunked: StartedCore, dimensions: int) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        run(chunked, [[1]], PoolingParams(dimensions=dimensions))
    assert caught.value.param == "dimensions"
    assert not chunked.core.has_work
