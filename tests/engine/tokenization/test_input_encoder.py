"""Inputs of pooling requests as tokens: pairs, and truncation that keeps special tokens."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from headrace.core.errors import ContextLengthError, InvalidParameterError
from headrace.engine.tokenization.input_encoder import Side, Truncation, encode_inputs
from headrace.engine.tokenization.tokenizer import Tokenizer, load_tokenizer
from headrace.testing.models.tiny_pooling import write_tiny_net

LIMIT = 512
TEXTS = st.text(alphabet="abc xyz", max_size=40)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_net(tmp_path_factory.mktemp("bert"), "Bert").path


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> Tokenizer:
    from headrace.models.sources.files import ModelFiles

    return load_tokenizer(ModelFiles(name="bert", format="huggingface", path=directory))


@pytest.fixture(scope="module")
def reference(directory: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))


@given(first=TEXTS, second=TEXTS.filter(bool))  # without a second text it is no pair there
def test_pairs_are_joined_as_in_transformers(
    tokenizer: Tokenizer, reference: PreTrainedTokenizerFast, first: str, second: str
) -> None:
    [encoded] = encode_inputs(tokenizer, [(first, second)], LIMIT)
    expected = reference(first, second, return_token_type_ids=True)
    assert encoded.token_ids == expected["input_ids"]
    assert encoded.second_start == expected["token_type_ids"].index(1)


@given(text=TEXTS, max_tokens=st.integers(3, 12), side=st.sampled_from(["left", "right"]))
def test_truncation_is_that_of_transformers(
    tokenizer: Tokenizer,
    reference: PreTrainedTokenizerFast,
    text: str,
    max_tokens: int,
    side: Side,
) -> None:
    [encoded] = encode_inputs(tokenizer, [text], LIMIT, Truncation(max_tokens, side))
    reference.truncation_side = side
    expected = reference(text, truncation=True, max_length=max_tokens)["input_ids"]
    assert encoded.token_ids == expected
    assert encoded.second_start is None


@given(first=TEXTS, second=TEXTS, max_tokens=st.integers(5, 12))
def test_a_truncated_pair_keeps_its_special_tokens_and_its_length(
    tokenizer: Tokenizer, first: str, second: str, max_tokens: int
) -> None:
    [whole] = encode_inputs(tokenizer, [(first, second)], LIMIT)
    [encoded] = encode_inputs(tokenizer, [(first, second)], LIMIT, Truncation(max_tokens))
    assert len(encoded.token_ids) == min(max_tokens, len(whole.token_ids))
    special = [token_id for token_id in encoded.token_ids if token_id in (0, 1)]
    assert special == [0, 1, 1]


def test_an_input_that_does_not_fit_is_refused(tokenizer: Tokenizer) -> None:
    [encoded] = encode_inputs(tokenizer, ["abc"], LIMIT)
    length = len(encoded.token_ids)
    assert encode_inputs(tokenizer, ["abc"], length) == [encoded]
    with pytest.raises(ContextLengthError):
        encode_inputs(tokenizer, ["abc"], length - 1)


def test_truncation_leaves_room_for_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        encode_inputs(tokenizer, ["abc"], LIMIT, Truncation(2))
    assert caught.value.param == "truncate_prompt_tokens"


@given(token_ids=st.lists(st.integers(0, 9), max_size=9), max_tokens=st.integers(1, 9))
def test_token_ids_are_cut_from_one_side(token_ids: list[int], max_tokens: int) -> None:
    right = Truncation(max_tokens, "right").apply(token_ids)
    left = Truncation(max_tokens, "left").apply(token_ids)
    assert len(right) == len(left) == min(max_tokens, len(token_ids))
    assert token_ids[: len(right)] == right
    assert token_ids[len(token_ids) - len(left) :] == left
