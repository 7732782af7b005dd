import pytest
from tokenizers.processors import TemplateProcessing

from headrace.bench.errors import OptionError
from headrace.bench.figures.token_counter import count_tokens_of, load_token_counter
from headrace.bench.records import Failure, RequestRecord
from headrace.testing.models.tiny_tokenizer import build_tokenizer


@pytest.fixture
def folder(tmp_path):
    build_tokenizer(258).save(str(tmp_path / "tokenizer.json"))  # a token a byte
    return tmp_path


@pytest.mark.parametrize("name", ["", "tokenizer.json"])
def test_a_tokenizer_is_loaded_from_a_file_or_folder(folder, name):
    counter = load_token_counter(folder / name)
    assert counter.count("hé") == 3
    assert counter.count_all(["a" * number for number in range(3000)]) == list(range(3000))


def test_without_a_path_there_is_no_counter():
    assert load_token_counter(None) is None


def test_successful_records_are_counted(folder):
    records = [RequestRecord(0, 0.0, text="abc"), RequestRecord(1, 0.0, failure=Failure.CUT)]
    count_tokens_of(records, load_token_counter(folder))
    assert [record.num_counted_tokens for record in records] == [3, None]


def test_an_invalid_tokenizer_is_an_error(tmp_path):
    with pytest.raises(OptionError, match="There is no"):
        load_token_counter(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(OptionError, match="is no tokenizer"):
        load_token_counter(tmp_path)


def test_only_generated_text_is_counted(tmp_path):
    """Without special tokens and padding, and without truncation."""
    tokenizer = build_tokenizer(300)
    special = tokenizer.get_added_tokens_decoder()
    number, token = next(iter(special.items()))
    tokenizer.post_processor = TemplateProcessing(
        single=f"{token.content} $A", special_tokens=[(token.content, number)]
    )
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(2)
    plain = load_token_counter(save(build_tokenizer(300), tmp_path / "plain.json"))
    counter = load_token_counter(save(tokenizer, tmp_path / "padded.json"))
    assert counter.count("a long text") == plain.count("a long text") > 2
    assert counter.count_all(["a", "a long text"]) == plain.count_all(["a", "a long text"])


def save(tokenizer, path):
    tokenizer.save(str(path))
    return path
