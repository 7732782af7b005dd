"""Tokenizers built from GGUF metadata, against the libraries that they come from."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Tokenizer, LlamaTokenizer, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import generate_merges

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.engine.tokenization.gguf_pre_tokenizers import splitting_of
from headrace.engine.tokenization.gguf_tokenizer import TokenType, build_gguf_tokenizer

CORPUS = ["the quick brown fox's 12345 jumps over the lazy dog", "naïve café 日本語", "  fn(x)\n\n"]
TEXTS = [
    "the quick brown fox's",
    "I'LL say: HelloWorld 12345 times  \n\n  fn(x)",
    " naïve café 日本語 🦊",
    "trailing space ",
    "",
]
SPECIAL = ["<|begin|>", "<|end|>"]


def byte_level_metadata(pre: str | None = "gpt-2", **more: object) -> dict[str, Any]:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(CORPUS * 3, trainer)
    vocab = trained.get_vocab()
    tokens = sorted(vocab, key=vocab.__getitem__)
    merges = json.loads(trained.to_str())["model"]["merges"]
    fields: dict[str, object] = {
        "model": "gpt2",
        "tokens": [*tokens, "<tool>"],
        "token_type": [3 if token in SPECIAL else 1 for token in tokens] + [4],
        "merges": [" ".join(merge) for merge in merges],
        "bos_token_id": 0,
        "eos_token_id": 1,
        **more,
    }
    if pre is not None:
        fields["pre"] = pre
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def sentencepiece_metadata(**more: object) -> dict[str, Any]:
    """A vocabulary whose longer pieces have lower scores, as SentencePiece trains them."""
    letters = sorted({character for text in CORPUS[:2] for character in text.replace(" ", "▁")})
    unions = ["th", "the", "▁the", "qu", "▁qu", "ick", "ck", "▁quick", "ow", "own", "br", "▁br"]
    unions += ["▁brown", "▁▁", "aa", "aaa", "aaaa", "er", "▁d"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [*unions, *letters, "<tool>"]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(unions) + len(letters)) + [4]
    scores = [0.0] * 259 + [-float(place) for place in range(len(pieces) - 259)]
    fields = {
        "model": "llama",
        "tokens": pieces,
        "scores": scores,
        "token_type": kinds,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        **more,
    }
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def merges_of(metadata: dict[str, Any]) -> list[tuple[str, str]]:
    split = [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]]
    return [(left, right) for left, right in split]


def vocab_of(metadata: dict[str, Any]) -> dict[str, int]:
    return {token: index for index, token in enumerate(metadata["tokenizer.ggml.tokens"])}


@pytest.mark.parametrize(("pre", "theirs"), [("gpt-2", GPT2Tokenizer), ("qwen2", Qwen2Tokenizer)])
def test_byte_pair_tokenization_equals_transformers(pre: str, theirs: type) -> None:
    metadata = byte_level_metadata(pre)
    expected = theirs(vocab=vocab_of(metadata), merges=merges_of(metadata)).backend_tokenizer
    backend = build_gguf_tokenizer(metadata).backend
    for text in [*TEXTS, "cafe\u0301 's"]:
        ids = backend.encode(text).ids
        assert ids == expected.encode(text, add_special_tokens=False).ids
        assert backend.decode(ids) == expected.decode(ids)


@given(st.text())
def test_byte_pair_tokenization_is_lossless(text: str) -> None:
    backend = BYTE_LEVEL
    assert backend.decode(backend.encode(text).ids, skip_special_tokens=False) == text


BYTE_LEVEL = build_gguf_tokenizer(byte_level_metadata("llama-bpe", add_bos_token=False)).backend


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("gpt-2", "I|'|LL| pay| 12345|!!|\n | HelloWorld|'s"),
        ("smollm", "I|'|LL| pay| |1|2|3|4|5|!!|\n | HelloWorld|'s"),
        ("llama-bpe", "I|'LL| pay| |123|45|!!\n| | HelloWorld|'s"),
        ("qwen2", "I|'LL| pay| |1|2|3|4|5|!!\n| | HelloWorld|'s"),
        ("tekken", "I|'LL| pay| |1|2|3|4|5|!!\n| | Hello|World|'s"),
        ("gpt-4o", "I'LL| pay| |123|45|!!\n| | Hello|World's"),
        ("deepseek-v3", "I|'LL| pay| |123|45|!!\n| | HelloWorld|'s"),
        ("default", "I|'|LL| pay| |123|45|!!|\n | HelloWorld|'|s"),
    ],
)
def test_pre_tokenizers_split_texts(pre: str, words: str) -> None:
    text = words.replace("|", "")
    found = splitting_of(pre).pre_tokenizer().pre_tokenize_str(text)
    assert "|".join(text[start:end] for _, (start, end) in found) == words


def test_sentencepiece_tokenization_equals_transformers() -> None:
    metadata = sentencepiece_metadata(add_bos_token=False)
    vocab = vocab_of(metadata)
    scores = dict(zip(vocab, metadata["tokenizer.ggml.scores"], strict=True))
    skipped = {"<unk>", "<s>", "</s>"}
    expected = LlamaTokenizer(
        vocab=vocab, merges=generate_merges(vocab, scores, skip_tokens=skipped)
    ).backend_tokenizer
    backend = build_gguf_tokenizer(metadata).backend
    for text in [*TEXTS, "aaaaaaa the the", "thequickbrown", "\t\x00"]:
        if text.startswith(" "):  # SentencePiece adds its space all the same; transformers does not
            continue
        ids = backend.encode(text).ids
        assert ids == expected.encode(text, add_special_tokens=False).ids
        assert backend.decode(ids) == text


def test_sentencepiece_adds_a_space_before_an_existing_one() -> None:
    backend = build_gguf_tokenizer(sentencepiece_metadata(add_bos_token=False)).backend
    assert backend.encode(" the").tokens == ["▁", "▁the"]
    assert backend.decode(backend.encode(" the").ids) == " the"


@given(st.text())
def test_sentencepiece_falls_back_to_bytes(text: str) -> None:
    text = text.replace("▁", "")
    ids = SENTENCEPIECE.encode(text).ids
    assert SENTENCEPIECE.decode(ids, skip_special_tokens=False) == text


SENTENCEPIECE = build_gguf_tokenizer(sentencepiece_metadata(add_bos_token=False)).backend


def test_sentencepiece_without_a_space_before_texts() -> None:
    metadata = sentencepiece_metadata(add_bos_token=False, add_space_prefix=False)
    backend = build_gguf_tokenizer(metadata).backend
    assert backend.encode("the quick").tokens == ["the", "▁quick"]
    assert backend.decode(backend.encode(" the").ids) == " the"


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({}, (True, False)),
        ({"add_bos_token": False}, (False, False)),
        ({"add_eos_token": True}, (True, True)),
        ({"add_bos_token": False, "add_eos_token": True}, (False, True)),
    ],
)
@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_bos_and_eos_follow_the_metadata(
    model: str, fields: dict[str, bool], ends: tuple[bool, bool]
) -> None:
    if model == "llama":
        metadata = sentencepiece_metadata(**fields)
    else:
        metadata = byte_level_metadata("llama-bpe", **fields)
    backend = build_gguf_tokenizer(metadata).backend
    bare = backend.encode("the", add_special_tokens=False).ids
    bos, eos = metadata["tokenizer.ggml.bos_token_id"], metadata["tokenizer.ggml.eos_token_id"]
    assert backend.encode("the").ids == [bos] * ends[0] + bare + [eos] * ends[1]


def test_gpt2_adds_bos_only_if_the_metadata_does() -> None:
    backend = build_gguf_tokenizer(byte_level_metadata("gpt-2")).backend
    assert backend.encode("the").ids == backend.encode("the", add_special_tokens=False).ids
    backend = build_gguf_tokenizer(byte_level_metadata("gpt-2", add_bos_token=True)).backend
    assert backend.encode("the").tokens[0] == "<|begin|>"


@pytest.mark.parametrize(
    ("metadata", "special"),
    [(byte_level_metadata(), SPECIAL), (sentencepiece_metadata(), ["<unk>", "<s>", "</s>"])],
)
def test_control_tokens_are_special_and_user_defined_ones_are_not(
    metadata: dict[str, Any], special: list[str]
) -> None:
    backend = build_gguf_tokenizer(metadata).backend
    added = {token.content: token.special for token in backend.get_added_tokens_decoder().values()}
    assert added == {**dict.fromkeys(special, True), "<tool>": False}
    tokens = backend.encode(f"the<tool>{special[-1]}", add_special_tokens=False)
    assert tokens.tokens[-2:] == ["<tool>", special[-1]]
    assert backend.decode(tokens.ids) == "the<tool>"


def test_tokens_have_names() -> None:
    assert build_gguf_tokenizer(sentencepiece_metadata()).named_tokens == {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    without = {key: value for key, value in byte_level_metadata().items() if "bos" not in key}
    assert build_gguf_tokenizer(without).named_tokens == {"eos_token": "<|end|>"}


def test_empty_tokens_get_names() -> None:
    metadata = byte_level_metadata()
    metadata["tokenizer.ggml.tokens"] += ["", ""]
    metadata["tokenizer.ggml.token_type"] += [TokenType.UNUSED] * 2
    backend = build_gguf_tokenizer(metadata).backend
    assert backend.get_vocab_size() == len(metadata["tokenizer.ggml.tokens"])


def test_an_unknown_pre_tokenizer_is_an_error_that_lists_known_ones() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'klingon'.*--tokenizer.*llama-bpe.*smollm"):
        build_gguf_tokenizer(byte_level_metadata("klingon"))


def test_an_unknown_model_is_an_error_that_lists_known_ones() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'bert'.*gpt2, llama"):
        build_gguf_tokenizer(byte_level_metadata(model="bert"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": None}, "no tokenizer"),
        ({"tokens": []}, "no tokens"),
        ({"tokens": ["a", "b", "a"]}, "'a' is duplicated"),
        ({"tokens": [1, 2]}, "tokens has the wrong type"),
        ({"token_type": [1]}, "types of 1"),
        ({"merges": None}, "no merges"),
        ({"merges": ["ab"]}, "'ab' is not two tokens"),
        ({"merges": ["zzz qqq"]}, "damaged"),
        ({"model": "llama"}, "lacks scores"),
        ({"model": 7}, "model has the wrong type"),
        ({"add_bos_token": "yes"}, "add_bos_token has the wrong type"),
    ],
)
def test_damaged_metadata_is_reported(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        build_gguf_tokenizer(byte_level_metadata(**fields))
