import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from headrace.engine.tokenization.detokenizer import DetokenizerFactory

CORPUS = ["The quick brown fox jumps over the lazy dog.", "größer über naïve café", "日本語 текст"]


def byte_level() -> Tokenizer:
    """As in GPT-2, Llama 3, Qwen and SmolLM."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens(["an added one", AddedToken("ünd", normalized=False)])
    return tokenizer


def sentencepiece_like() -> Tokenizer:
    """As in Llama 2 and Mistral: words begin with a mark, unknown characters are bytes."""
    words = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = sorted({character for text in CORPUS for character in text if character.isascii()})
    pieces = ["▁", *letters, "▁t", "he", "▁the", "▁▁", "ü", "日"]
    vocab = {token: place for place, token in enumerate(dict.fromkeys(words + pieces))}
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁", "▁")]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["</s>"])
    return tokenizer


def metaspace() -> Tokenizer:
    """As in T5 and some Llama conversions."""
    tokenizer = sentencepiece_like()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return tokenizer


def word_piece() -> Tokenizer:
    vocab = {token: place for place, token in enumerate(["[UNK]", "the", "##se", "fox", ".", "s"])}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[UNK]"])
    return tokenizer


KINDS = {make.__name__: make() for make in (byte_level, sentencepiece_like, metaspace, word_piece)}


def pieces_of(tokenizer: Tokenizer, token_ids: list[int], skip_special_tokens: bool) -> list[str]:
    detokenizer = DetokenizerFactory(tokenizer).create(skip_special_tokens)
    return [*map(detokenizer.push, token_ids), detokenizer.flush()]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), skip=st.booleans())
def test_incremental_detokenization_equals_a_full_decode(
    kind: str, data: st.DataObject, skip: bool
) -> None:
    tokenizer = KINDS[kind]
    ids = st.integers(0, tokenizer.get_vocab_size() - 1)
    token_ids = data.draw(st.lists(ids, max_size=40))
    expected = tokenizer.decode(token_ids, skip_special_tokens=skip)
    assert "".join(pieces_of(tokenizer, token_ids, skip)) == expected


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece_like", "metaspace"])
@given(text=st.text())
def test_text_is_emitted_without_partial_characters(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]
    token_ids = tokenizer.encode(text, add_special_tokens=False).ids
    pieces = pieces_of(tokenizer, token_ids, skip_special_tokens=True)
    assert "".join(pieces) == tokenizer.decode(token_ids, skip_special_tokens=True)
    whole = "".join(pieces)
    assert whole.count("\ufffd") == text.count("\ufffd")


def test_a_character_is_emitted_with_its_last_byte() -> None:
    tokenizer = KINDS["byte_level"]
    detokenizer = DetokenizerFactory(tokenizer).create()
    token_ids = tokenizer.encode("🦊").ids
    assert len(token_ids) == 4
    assert [detokenizer.push(token_id) for token_id in token_ids] == ["", "", "", "🦊"]


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece_like"])
def test_a_partial_character_at_the_end_is_flushed(kind: str) -> None:
    tokenizer = KINDS[kind]
    token_ids = tokenizer.encode("the🦊").ids[:-2]
    *pieces, last = pieces_of(tokenizer, token_ids, skip_special_tokens=True)
    assert "\ufffd" not in "".join(pieces)
    assert last.startswith("\ufffd")


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece_like", "metaspace"])
def test_complete_words_are_never_held_back(kind: str) -> None:
    tokenizer = KINDS[kind]
    detokenizer = DetokenizerFactory(tokenizer).create()
    token_ids = tokenizer.encode("the fox and the dog").ids
    for num_tokens, token_id in enumerate(token_ids, start=1):
        text = detokenizer.push(token_id)
        assert text or num_tokens == 1  # only the mark before the first word may be empty
    assert detokenizer.flush() == ""


@pytest.mark.parametrize(("skip", "text"), [(True, "the"), (False, "the<|end|>")])
def test_special_tokens_can_be_skipped(skip: bool, text: str) -> None:
    tokenizer = KINDS["byte_level"]
    token_ids = [*tokenizer.encode("the").ids, tokenizer.token_to_id("<|end|>")]
    assert "".join(pieces_of(tokenizer, token_ids, skip)) == text


def test_consecutive_replacement_characters_are_flushed() -> None:
    tokenizer = KINDS["sentencepiece_like"]
    tokenizer_with_it = Tokenizer.from_str(tokenizer.to_str())
    tokenizer_with_it.add_tokens(["\ufffd"])
    token_id = tokenizer_with_it.token_to_id("\ufffd")
    pieces = pieces_of(tokenizer_with_it, [token_id] * 12, skip_special_tokens=True)
    assert "".join(pieces) == "\ufffd" * 12
    assert max(map(len, pieces)) <= 4
