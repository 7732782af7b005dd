"""Tokenizers of real and of small model directories."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer

from headrace.core.errors import ModelFileError, ModelNotFoundError
from headrace.engine.tokenization.tokenizer import Tokenizer as OurTokenizer
from headrace.engine.tokenization.tokenizer import load_tokenizer
from headrace.models.sources.files import ModelFiles
from headrace.testing.fakes.fake_model import CHAT_TEMPLATE, write_model


@pytest.fixture
def parrot(tmp_path: Path) -> ModelFiles:
    """A model directory whose tokens are bytes, for tests to modify."""
    return write_model(tmp_path)


def change(files: ModelFiles, **settings: object) -> None:
    file = files.path / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def test_the_default_model(default_model_files: ModelFiles) -> None:
    started = time.perf_counter()
    tokenizer = load_tokenizer(default_model_files)
    assert time.perf_counter() - started < 5  # the gguf package's reader alone takes two seconds
    assert tokenizer.vocab_size == 49152
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<|im_start|>", 1)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert tokenizer.special_ids == frozenset(range(17))
    assert tokenizer.chat_template is not None
    assert tokenizer.encode("The capital of France is Paris.") == [
        504,
        3575,
        282,
        4649,
        314,
        7042,
        30,
    ]
    assert tokenizer.encode("<|im_start|>user\n") == [1, 4093, 198]


def test_the_default_model_splits_digits(default_model_files: ModelFiles) -> None:
    tokenizer = load_tokenizer(default_model_files)
    texts = [tokenizer.token_text(token_id) for token_id in tokenizer.encode("in 2024\n\n\tx")]
    assert texts == ["in", " ", "2", "0", "2", "4", "\n\n", "\t", "x"]


def test_agrees_with_transformers(parrot: ModelFiles) -> None:
    theirs = AutoTokenizer.from_pretrained(parrot.path)
    ours = load_tokenizer(parrot)
    for text in ["hello", "naïve 🦊<eos>", ""]:
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids)
    assert ours.eos_token_id == theirs.eos_token_id
    assert ours.vocab_size == len(theirs)


def test_batch_encoding_equals_individual_encoding(parrot: ModelFiles) -> None:
    tokenizer = load_tokenizer(parrot)
    texts = ["a", "", "longer than that"]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@given(st.text())
def test_bytes_of_byte_level_tokens_equal_the_text(text: str) -> None:
    ids = BYTE_LEVEL.encode(text)
    assert b"".join(map(BYTE_LEVEL.token_bytes, ids)) == text.encode()


def byte_level() -> OurTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<\uff5cend of text\uff5c>"])
    return OurTokenizer(backend)


BYTE_LEVEL = byte_level()


def test_a_partial_character_is_shown_as_bytes() -> None:
    first = BYTE_LEVEL.encode("é")[0]
    assert BYTE_LEVEL.token_bytes(first) == "é".encode()[:1]
    assert BYTE_LEVEL.token_text(first) == "\ufffd"


def test_special_tokens_are_shown_literally() -> None:
    (token_id,) = BYTE_LEVEL.special_ids
    assert BYTE_LEVEL.token_text(token_id) == "<\uff5cend of text\uff5c>"


@pytest.mark.parametrize("token_id", [-1, 100_000])
def test_an_unused_id_has_no_bytes(token_id: int) -> None:
    assert BYTE_LEVEL.token_bytes(token_id) == b""
    assert BYTE_LEVEL.token_text(token_id) == ""


def test_bytes_of_sentencepiece_tokens() -> None:
    vocab = {"<unk>": 0, "▁the": 1, "<0xC3>": 2, "▁": 3}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    tokenizer = OurTokenizer(backend)
    assert [tokenizer.token_bytes(i) for i in range(4)] == [b"<unk>", b" the", b"\xc3", b" "]


def test_padding_and_truncation_are_off(parrot: ModelFiles) -> None:
    backend = Tokenizer.from_file(str(parrot.path / "tokenizer.json"))
    backend.enable_truncation(max_length=3)
    backend.enable_padding(length=8)
    backend.save(str(parrot.path / "tokenizer.json"))
    assert len(load_tokenizer(parrot).encode("hello")) == 5


def test_token_entries_may_be_objects(parrot: ModelFiles) -> None:
    change(parrot, bos_token={"content": "<eos>", "lstrip": False}, eos_token=None)
    tokenizer = load_tokenizer(parrot)
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<eos>", 256)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == (None, None)


def test_named_tokens_become_special_as_in_transformers(parrot: ModelFiles) -> None:
    change(parrot, bos_token="a", additional_special_tokens=["b"])
    theirs = AutoTokenizer.from_pretrained(parrot.path)
    tokenizer = load_tokenizer(parrot)
    ids = tokenizer.encode("abc")
    assert tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True) == "c"


def test_a_name_outside_the_vocabulary_is_ignored(parrot: ModelFiles) -> None:
    change(parrot, pad_token="<pad>")
    tokenizer = load_tokenizer(parrot)
    assert tokenizer.vocab_size == 257  # the model has no row for another one
    assert tokenizer.named_tokens["pad_token"] == "<pad>"


def test_tokens_listed_only_in_tokenizer_config(parrot: ModelFiles) -> None:
    listed = {
        "257": {"content": "<think>", "special": False},
        "258": {"content": "<end>", "special": True},
        "400": {"content": "<far>", "special": True},
    }
    change(parrot, added_tokens_decoder=listed)
    tokenizer = load_tokenizer(parrot)
    assert tokenizer.encode("<think><end>") == [257, 258]
    assert tokenizer.special_ids == {256, 258}
    assert tokenizer.vocab_size == 259


@pytest.mark.parametrize("add_bos", [True, False])
def test_tokenizer_json_decides_the_special_tokens_around_a_text(
    parrot: ModelFiles, add_bos: bool
) -> None:
    backend = Tokenizer.from_file(str(parrot.path / "tokenizer.json"))
    backend.add_special_tokens([AddedToken("<bos>", special=True)])
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 257)]
    )
    backend.save(str(parrot.path / "tokenizer.json"))
    change(parrot, bos_token="<bos>", add_bos_token=add_bos, add_eos_token=True)
    theirs = AutoTokenizer.from_pretrained(parrot.path)
    tokenizer = load_tokenizer(parrot)
    assert tokenizer.encode("<eos>") == theirs.encode("<eos>") == [257, 256]
    assert tokenizer.encode("<eos>", add_special_tokens=False) == [256]


def test_the_template_of_tokenizer_config(parrot: ModelFiles) -> None:
    assert load_tokenizer(parrot).chat_template == CHAT_TEMPLATE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}], "D"),
        ([{"name": "tool_use", "template": "T"}], None),
        (None, None),
    ],
)
def test_the_default_of_several_templates(
    parrot: ModelFiles, value: Any, expected: str | None
) -> None:
    change(parrot, chat_template=value)
    assert load_tokenizer(parrot).chat_template == expected


def test_templates_in_files_of_their_own(parrot: ModelFiles) -> None:
    (parrot.path / "chat_template.json").write_text(json.dumps({"chat_template": "J"}))
    assert load_tokenizer(parrot).chat_template == "J"
    (parrot.path / "chat_template.jinja").write_text("ü")
    assert load_tokenizer(parrot).chat_template == "ü"
    assert AutoTokenizer.from_pretrained(parrot.path).chat_template == "ü"


@pytest.mark.parametrize("name", ["", "tokenizer.json"])
def test_a_tokenizer_from_another_folder(
    fake_files: ModelFiles, tmp_path: Path, parrot: ModelFiles, name: str
) -> None:
    tokenizer = load_tokenizer(fake_files, str(parrot.path / name))
    assert tokenizer.vocab_size == 257
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_a_tokenizer_without_a_template_keeps_the_models(
    fake_files: ModelFiles, parrot: ModelFiles, default_model_files: ModelFiles
) -> None:
    elsewhere = str(fake_files.path)
    assert load_tokenizer(parrot, elsewhere).chat_template == CHAT_TEMPLATE
    of_gguf = load_tokenizer(default_model_files, elsewhere)
    assert of_gguf.vocab_size == 1000
    assert of_gguf.chat_template == load_tokenizer(default_model_files).chat_template


def test_a_gguf_file_as_tokenizer(parrot: ModelFiles, default_model_files: ModelFiles) -> None:
    tokenizer = load_tokenizer(parrot, str(default_model_files.path))
    assert tokenizer.vocab_size == 49152


@pytest.mark.parametrize("override", ["/no/such/place", "./nor/here", "tokenizer.json"])
def test_a_missing_tokenizer_is_reported(
    fake_files: ModelFiles, override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match=override):
        load_tokenizer(fake_files, override)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "\udc80"])
def test_a_damaged_file_is_named(parrot: ModelFiles, name: str, content: str) -> None:
    (parrot.path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ModelFileError, match=rf"{name}' is damaged"):
        load_tokenizer(parrot)


def test_a_model_without_a_tokenizer(parrot: ModelFiles) -> None:
    (parrot.path / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match=r"has no tokenizer\.json.*--tokenizer"):
        load_tokenizer(parrot)


def test_a_models_custom_code_is_not_run(
    parrot: ModelFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even if every prompt is confirmed."""
    (parrot.path / "tokenizer.json").unlink()
    ran = parrot.path / "ran"
    (parrot.path / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass OwnTokenizer: pass\n")
    settings = {"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    (parrot.path / "tokenizer_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\n"))
    with pytest.raises(ModelFileError, match=r"has no tokenizer\.json"):
        load_tokenizer(parrot)
    assert not ran.exists()
    assert capsys.readouterr().out == ""


def test_a_damaged_gguf_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF\x03\0\0\0")
    with pytest.raises(ModelFileError, match=r"model\.gguf"):
        load_tokenizer(ModelFiles(name="m", format="gguf", path=file))
