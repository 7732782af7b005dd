"""End-of-turn tokens, for the templates and tokenizers of many families."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel

from headrace import LLM, SamplingParams
from headrace.core.generation.outputs import FinishReason
from headrace.engine.rendering.chat_template import ChatTemplate
from headrace.engine.rendering.end_tokens import end_token_ids, turn_end_token_id
from headrace.engine.tokenization.tokenizer import Tokenizer, load_tokenizer
from headrace.models.loaders.gguf.config import eos_token_ids
from headrace.models.loaders.gguf.file import GgufFile, open_gguf
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import VOCAB_SIZE, write_tiny_model
from headrace.testing.models.tiny_tokenizer import BOS_TOKEN_ID, EOS

FILES = ModelFiles(name="m", format="huggingface", path=Path("/nowhere"))
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|end|>", "<|end|>x", "<|eot_id|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(template: str | None = None) -> Tokenizer:
    backend = Backend(WordLevel({"plain": 0}, unk_token="plain"))
    backend.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    backend.add_tokens(["<added>"])
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    return Tokenizer(backend, named_tokens=named, chat_template=template)


def turn_end(template: str | None) -> str | None:
    tokenizer = make_tokenizer(template)
    found = turn_end_token_id(tokenizer, ChatTemplate(FILES, tokenizer))
    return None if found is None else tokenizer.special_tokens[found]


EACH = "{% for m in messages %}"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, None),
        (CHATML, "<|im_end|>"),
        (EACH + "{{ m.role }}: {{ m.content | trim }}<|eot_id|>{% endfor %}", "<|eot_id|>"),
        (EACH + "{{ m.content }} {{ eos_token }}{% endfor %}", "</s>"),
        (EACH + "{{ m.content }}<|end|>\n{% endfor %}{{ eos_token }}", "<|end|>"),
        (EACH + "{{ m.content }}<|end|>x{% endfor %}", "<|end|>x"),
        (EACH + "{{ m.role }}: {{ m.content }}\n{% endfor %}", None),
        (EACH + "{{ m.content }}<added>{% endfor %}", None),
        (EACH + "{{ m.content }}. <|im_end|>{% endfor %}", None),
        (EACH + "{{ m.content }}{{ bos_token }}{% endfor %}", None),
        (EACH + "{{ m.role }}<|im_end|>{% endfor %}", None),
        (
            EACH + "{% for part in m.content %}{{ part.text }}{% endfor %}<|im_end|>{% endfor %}",
            "<|im_end|>",
        ),
        ("{{ raise_exception('no messages are good enough') }}", None),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", None),
        ("{{ 'x' * 10000000000 }}", None),
        ("{% for %}", None),
    ],
    ids=str,
)
def test_the_token_after_an_assistants_content_ends_a_turn(
    template: str | None, expected: str | None
) -> None:
    assert turn_end(template) == expected


def test_the_tokenizers_eos_token_is_included() -> None:
    tokenizer = make_tokenizer(CHATML)
    ids = end_token_ids(tokenizer, ChatTemplate(FILES, tokenizer))
    assert {tokenizer.special_tokens[token_id] for token_id in ids} == {"</s>", "<|im_end|>"}


def finish(llm: LLM, token_id: int) -> tuple[FinishReason | None, int]:
    """The finish reason of an output that starts with this token, and its length."""
    params = SamplingParams(max_tokens=8, temperature=0.0, logit_bias={token_id: 100.0})
    (output,) = llm.generate([[5, 6, 7]], params, use_tqdm=False)
    (choice,) = output.outputs
    assert choice.token_ids[0] == token_id
    return choice.finish_reason, len(choice.token_ids)


ENDED = (FinishReason.STOP, 1)
WENT_ON = (FinishReason.LENGTH, 8)


def set_values(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def load(files: ModelFiles) -> LLM:
    return LLM(str(files.path), dtype="float32", kv_cache_memory="4MB", num_threads=1)


def test_a_checkpoint_with_eos_in_the_tokenizer_only(tmp_path: Path) -> None:
    files = write_tiny_model(tmp_path)
    set_values(tmp_path / "config.json", eos_token_id=None)
    set_values(tmp_path / "generation_config.json", eos_token_id=None)
    tokenizer = load_tokenizer(files)
    eos, other = tokenizer.backend.token_to_id(EOS), 100
    llm = load(files)
    assert finish(llm, eos) == ENDED
    assert finish(llm, other) == WENT_ON


def test_eos_of_generation_config_and_tokenizer_are_combined(tmp_path: Path) -> None:
    files = write_tiny_model(tmp_path)
    set_values(tmp_path / "config.json", eos_token_id=None)
    set_values(tmp_path / "generation_config.json", eos_token_id=[100, 101])
    llm = load(files)
    for token_id in (100, 101, load_tokenizer(files).backend.token_to_id(EOS)):
        assert finish(llm, token_id) == ENDED


def test_a_checkpoint_with_another_end_of_turn_token(tmp_path: Path) -> None:
    files = write_tiny_model(tmp_path)
    token_id = 300
    backend = Backend.from_file(str(tmp_path / "tokenizer.json"))
    turn = backend.id_to_token(token_id)
    backend.add_special_tokens([turn])
    backend.save(str(tmp_path / "tokenizer.json"))
    template = CHATML.replace("<|im_end|>", turn)
    set_values(tmp_path / "tokenizer_config.json", chat_template=template)
    assert finish(load(files), token_id) == ENDED


def test_a_gguf_file_with_another_eos_token(tmp_path: Path) -> None:
    """Its template is ChatML; its eos token ends a text, or is missing."""
    control = ("<|im_start|>", "<|im_end|>", "<|other|>")
    first = VOCAB_SIZE - len(control)
    files = write_tiny_gguf(
        tmp_path / "m.gguf",
        control_tokens=control,
        eos_token_id=BOS_TOKEN_ID,
        chat_template=CHATML,
    )
    llm = load(files)
    assert finish(llm, first + 1) == ENDED
    assert finish(llm, BOS_TOKEN_ID) == ENDED
    assert finish(llm, first + 2) == WENT_ON


def test_a_gguf_file_with_an_end_of_turn_token_in_its_template(tmp_path: Path) -> None:
    files = write_tiny_gguf(
        tmp_path / "m.gguf",
        control_tokens=("<|over|>",),
        chat_template=EACH + "{{ m.content }}<|over|>{% endfor %}",
    )
    assert finish(load(files), VOCAB_SIZE - 1) == ENDED


def test_the_default_model_ends_turns_despite_its_metadata(
    default_model_files: ModelFiles,
) -> None:
    file = open_gguf(default_model_files.path)
    metadata = {**file.metadata, "tokenizer.ggml.eos_token_id": 0}
    im_end = metadata["tokenizer.ggml.tokens"].index("<|im_end|>")
    assert im_end in eos_token_ids(GgufFile(file.path, metadata, file.tensors))
    tokenizer = load_tokenizer(default_model_files)
    assert turn_end_token_id(tokenizer, ChatTemplate(default_model_files, tokenizer)) == im_end


def test_a_configured_templates_end_of_turn_token_is_used(tmp_path: Path) -> None:
    files = write_tiny_gguf(tmp_path / "m.gguf", control_tokens=("<|over|>",))
    llm = load(files)
    assert finish(llm, VOCAB_SIZE - 1) == WENT_ON
    messages = [{"role": "user", "content": "the water"}]
    params = SamplingParams(max_tokens=8, temperature=0.0, logit_bias={VOCAB_SIZE - 1: 100.0})
    template = EACH + "{{ m.content }}<|over|>{% endfor %}"
    (output,) = llm.chat(messages, params, use_tqdm=False, chat_template=template)
    assert output.outputs[0].finish_reason is FinishReason.STOP
