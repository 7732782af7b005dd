"""The lower bound of a text's tokens, against real tokenizers of every kind."""

import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from headrace.engine.tokenization.text_bound import TextBound, text_bound
from headrace.engine.tokenization.tokenizer import load_tokenizer
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_tokenizer import build_tokenizer

HARD_CHARACTERS = (
    "a b\n\t<s>\x04\x1d\u00e9e\u0301\u212a\u1f82\u03b1\u0313\u0300\u0345\uac00\u1100\u1161🦊\u2581"
)
TEXTS = st.text(st.sampled_from(HARD_CHARACTERS) | st.characters(exclude_categories=["Cs"]))


def byte_level(*merged: str) -> Tokenizer:
    """Every byte is a token; these are merges."""
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for word in merged:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append((word[: end - 1], word[end - 1]))
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def sentencepiece() -> Tokenizer:
    """As Llama 2's: spaces marked, unknown characters as bytes."""
    vocab = {"<unk>": 0, **{f"<0x{byte:02X}>": 1 + byte for byte in range(256)}}
    for token in ("\u2581", "a", "\u2581a", "aa", "\u2581aa"):
        vocab[token] = len(vocab)
    merges = [("\u2581", "a"), ("a", "a"), ("\u2581a", "a")]
    backend = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    return backend


def composing(form: normalizers.Normalizer) -> Tokenizer:
    backend = byte_level("aaaa", "Ã©Ã©")
    backend.normalizer = form
    backend.add_tokens([AddedToken("e\u0301e\u0301e\u0301e\u0301", normalized=True)])
    return backend


BOUNDED = {
    "byte level": byte_level("aaaa", "aab"),
    "trained": build_tokenizer(320),
    "sentencepiece": sentencepiece(),
    **{name: composing(getattr(normalizers, name)()) for name in ("NFC", "NFKC", "NFD", "NFKD")},
}


def without(backend: Tokenizer, *characters: str) -> Tokenizer:
    """Without the tokens of these single bytes."""
    vocab = {c for c in backend.get_vocab() if c not in characters}
    model = models.BPE(vocab={c: i for i, c in enumerate(sorted(vocab))}, merges=[])
    rest = Tokenizer(model)
    rest.pre_tokenizer = backend.pre_tokenizer
    return rest


@pytest.mark.parametrize("name", BOUNDED)
@given(text=TEXTS, times=st.sampled_from([1, 5, 40]))
def test_every_text_has_at_least_the_bound(name: str, text: str, times: int) -> None:
    check(BOUNDED[name], text * times)


def check(backend: Tokenizer, text: str) -> None:
    bound = text_bound(backend)
    assert bound is not None
    assert len(backend.encode(text, add_special_tokens=False)) >= bound.min_num_tokens(text)


@pytest.fixture(scope="module")
def default_backend(default_model_files: ModelFiles) -> Tokenizer:
    return load_tokenizer(default_model_files).backend


@given(text=TEXTS, times=st.sampled_from([1, 20]))
def test_every_text_has_at_least_the_bound_for_the_default_model(
    default_backend: Tokenizer, text: str, times: int
) -> None:
    check(default_backend, text * times)


def test_the_bound_follows_the_longest_token() -> None:
    assert text_bound(byte_level("abcdefgh")) == TextBound(8)
    backend = byte_level("abcdefgh")
    backend.add_special_tokens(["<|a long special token|>"])
    assert text_bound(backend) == TextBound(len("<|a long special token|>"))
    assert text_bound(composing(normalizers.NFC())) == TextBound(8 * 4)


def test_characters_without_a_token_are_not_counted() -> None:
    backend = without(byte_level(), "\u0104", "\u011d")  # the bytes 0x04 and 0x1d
    bound = text_bound(backend)
    assert bound == TextBound(1, "\x04\x1d")
    assert bound.min_num_tokens("\x04" * 1000 + "a\x1d") == len(backend.encode("\x04a\x1d")) == 1


def unbounded() -> Iterator[tuple[str, Tokenizer]]:
    yield "a letter without a token", without(byte_level(), "K")
    yield "a part of characters without a token", without(byte_level(), "\u0122")  # 0x80
    for name, normalizer in {
        "strips": normalizers.Strip(),
        "drops accents": normalizers.StripAccents(),
        "replaces by a pattern": normalizers.Replace(Regex(" +"), " "),
        "replaces by less": normalizers.Replace("  ", " "),
        "within a sequence": normalizers.Sequence([normalizers.NFC(), normalizers.Strip()]),
    }.items():
        backend = byte_level()
        backend.normalizer = normalizer
        yield name, backend
    backend = byte_level()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel()]
    )
    yield "drops spaces", backend
    for side in ("lstrip", "rstrip"):
        backend = byte_level()
        backend.add_tokens([AddedToken("<x>", **{side: True})])
        yield f"an added token with {side}", backend
    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    yield "words", words
    fusing = Tokenizer(models.BPE(vocab={"<unk>": 0}, merges=[], unk_token="<unk>", fuse_unk=True))
    yield "fuses the unknown", fusing
    dropping = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    yield "drops the unknown", dropping


@pytest.mark.parametrize("backend", [pytest.param(each, id=name) for name, each in unbounded()])
def test_normalizers_that_drop_or_join_text_have_no_bound(
    backend: Tokenizer,
) -> None:
    assert text_bound(backend) is None


def test_a_composed_character_has_at_most_four_parts() -> None:
    assert max(len(unicodedata.normalize("NFD", chr(code))) for code in range(0x110000)) == 4
