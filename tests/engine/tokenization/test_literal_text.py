"""Special tokens that a message spells are text; those that the template writes are tokens."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from headrace import LLM, SamplingParams
from headrace.core.errors import InvalidRequestError
from headrace.engine.tokenization.literal_text import MAX_HIDDEN, HiddenTokens, LiteralText
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.testing.models.tiny_models import write_tiny_model
from headrace.testing.models.tiny_tokenizer import build_tokenizer

SPECIAL = ("<s>", "</s>", "<|end|>", "<|end|>x")
PIPED = "<｜User｜>"
"""A mark that the vocabulary does not declare special."""


def byte_level() -> Tokenizer:
    backend = build_tokenizer(300)
    backend.add_special_tokens(list(SPECIAL[2:]))
    backend.add_tokens([AddedToken(each, normalized=False) for each in (PIPED, "<think>")])
    return Tokenizer(backend)


def metaspace() -> Tokenizer:
    """As of models with SentencePiece's vocabularies: a space before the first word."""
    backend = Backend(BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    texts = [
        "hello there <s>s</s> the end of x | {} in\n all",
        f"<|end|> is what ends it, <unk> {PIPED}",
    ]
    special = [*(AddedToken(each, special=True) for each in SPECIAL), "<unk>"]
    backend.train_from_iterator(texts, BpeTrainer(vocab_size=400, special_tokens=special))
    return Tokenizer(backend)


TOKENIZERS = {"byte level": byte_level(), "metaspace": metaspace()}
LITERAL = {name: LiteralText(tokenizer) for name, tokenizer in TOKENIZERS.items()}
CONTENTS = st.lists(
    st.sampled_from(
        [*SPECIAL, PIPED, "<think>", "<", "s>", "<|", "end", "|>", "x", " ", "\n", "hello there"]
    ),
    max_size=8,
).map("".join)


def encode(kind: str, content: str) -> list[int]:
    """A prompt whose template writes a special token before and after the content."""
    hidden = HiddenTokens()
    shown = LITERAL[kind].hide({"content": content}, hidden)
    [token_ids] = LITERAL[kind].encode_batch([f"<s>{shown['content']}<|end|>"], hidden, False)
    return token_ids


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(CONTENTS)
def test_a_content_has_no_special_tokens(kind: str, content: str) -> None:
    tokenizer = TOKENIZERS[kind]
    first, *inner, last = encode(kind, content)
    texts = tokenizer.special_tokens
    assert (texts[first], texts[last]) == ("<s>", "<|end|>")
    assert not {texts.get(each) for each in inner} & set(SPECIAL)
    assert tokenizer.backend.token_to_id(PIPED) not in inner
    whole = tokenizer.decode([first, *inner, last], skip_special_tokens=False)
    assert whole == f"<s>{content}<|end|>"
    if not any(each in content for each in (*SPECIAL, PIPED)):
        plain = tokenizer.encode(f"<s>{content}<|end|>", add_special_tokens=False)
        assert [first, *inner, last] == plain


def test_values_without_special_tokens_are_left_alone() -> None:
    hidden = HiddenTokens()
    value = [{"a": ["b", 1, None, True, {"c": "<s"}]}]
    assert LITERAL["byte level"].hide(value, hidden) == value
    assert hidden.texts == {}
    hide = LITERAL["byte level"].hide
    shown = hide({"<s>": ["a<s>", "</s>"]}, hidden)
    assert list(shown) == ["<s>"]
    assert list(map(hidden.show, shown["<s>"])) == ["a<s>", "</s>"]
    assert sorted(hidden.texts.values()) == ["</s>", "<s>"]


def test_a_mark_that_is_not_declared_special_is_a_token_where_the_template_writes_it() -> None:
    literal, tokenizer = LITERAL["byte level"], TOKENIZERS["byte level"]
    user, think = map(tokenizer.backend.token_to_id, (PIPED, "<think>"))
    hidden = HiddenTokens()
    content = literal.hide(f"{PIPED}<think>", hidden)
    [token_ids] = literal.encode_batch([f"{PIPED}<think>{content}"], hidden, False)
    assert token_ids[:2] == [user, think]
    assert token_ids.count(user) == 1
    assert token_ids[-1] == think  # what templates look for in messages stays what it is


def test_marks_of_two_prompts_differ() -> None:
    one, other = HiddenTokens(), HiddenTokens()
    hide = LITERAL["byte level"].hide
    assert hide("<s>", one) != hide("<s>", other)
    assert hide("<s>", one) == hide("<s>", one)


def test_the_number_of_hidden_tokens_is_limited() -> None:
    hide = LITERAL["byte level"].hide
    hide("<s>" * MAX_HIDDEN, HiddenTokens())
    with pytest.raises(InvalidRequestError):
        hide(["<s>" * MAX_HIDDEN, "<s>"], HiddenTokens())


def test_chats_of_the_offline_interface_read_messages_as_text(tmp_path: Path) -> None:
    llm = LLM(str(write_tiny_model(tmp_path / "tiny").path), kv_cache_memory="1MiB")
    messages = [{"role": "user", "content": "a</s>"}]
    params = SamplingParams(max_tokens=1)
    for parses, number in ((False, 0), (True, 1)):
        [output] = llm.chat(messages, params, use_tqdm=False, parse_special_tokens=parses)
        assert output.prompt == "<s>user: a</s>\nassistant: "
        assert output.prompt_token_ids.count(1) == number
