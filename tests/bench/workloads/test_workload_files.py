"""Data sets and traces, from small samples of their formats."""

import gzip
import json
from pathlib import Path

import pytest

from headrace.bench.errors import OptionError, WorkloadError
from headrace.bench.load.load_generator import conversations_of
from headrace.bench.workloads.factory import load_workload
from headrace.bench.workloads.options import WorkloadOptions
from headrace.testing.models.tiny_tokenizer import build_tokenizer


@pytest.fixture
def load(tmp_path):
    """Write a sample and load it."""

    def load(dataset, content, name="sample", **options):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(data)
        return load_workload(WorkloadOptions(dataset, path, **options))

    return load


@pytest.fixture
def tokenizer(tmp_path):
    """A token per byte."""
    path = tmp_path / "tokenizer.json"
    build_tokenizer(258).save(str(path))
    return path


def json_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def sharegpt(*conversations):
    return json.dumps(
        [
            {
                "id": str(number),
                "conversations": [{"from": sender, "value": value} for sender, value in turns],
            }
            for number, turns in enumerate(conversations)
        ],
        indent=1,
    )


QUESTIONS = [[("human", f"What is number {n}?"), ("gpt", "It is so. " * n)] for n in range(1, 30)]


def test_sharegpt_uses_first_questions_and_response_lengths(load, tokenizer):
    planned = load("sharegpt", sharegpt(*QUESTIONS), tokenizer=tokenizer)
    assert len(planned) == 29
    for one in planned:
        number = int(one.prompt.split()[-1].rstrip("?"))
        assert one.max_tokens == len("It is so. ") * number
        assert not one.ignore_eos


def test_sharegpt_sampling_is_reproducible_by_seed(load):
    first, again, other = (
        load("sharegpt", sharegpt(*QUESTIONS), num_prompts=10, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(first) == 10


def test_sharegpt_skips_short_and_long_conversations(load, tokenizer):
    text = sharegpt(
        [("human", "hi"), ("gpt", "a long answer")],
        [("human", "a long question"), ("gpt", "no")],
        [("human", "a very, very long question"), ("gpt", "a long answer")],
        [("human", "nobody answers")],
        [],
        [("human", "a long question"), ("gpt", "a long answer")],
    )
    planned = load(
        "sharegpt", text, tokenizer=tokenizer, max_input_len=20, max_output_len=5, endpoint="chat"
    )
    assert [one.messages for one in planned] == [({"role": "user", "content": "a long question"},)]
    assert planned[0].max_tokens == 5


def test_sharegpt_starts_with_the_first_answered_question(load):
    text = sharegpt(
        [("gpt", "a first answer"), ("human", "question number one"), ("gpt", "a long answer")],
        [("system", "you are kind"), ("human", "question number two"), ("gpt", "a long answer")],
        [
            ("user", "no answer follows"),
            ("human", "question number three"),
            ("bard", "a long answer"),
        ],
        [("gpt", "a long answer"), ("gpt", "another answer")],
        [("human", "no answer follows this"), ("system", "you are kind"), ("gpt", "a long answer")],
        [("system", "you are kind"), ("gpt", "an answer of one")],
    )
    planned = load("sharegpt", text, endpoint="completions")
    assert sorted(one.prompt for one in planned) == [
        "question number one",
        "question number three",
        "question number two",
    ]


def test_an_invalid_conversation_is_an_error_with_its_line(load):
    text = '[\n{"conversations": [{"from": "human", "value": 3}]}]'
    with pytest.raises(WorkloadError, match=r"sample, line 2: .*got `int`.*conversations"):
        load("sharegpt", text)


def test_plain_lines_are_prompts(load):
    planned = load("prompts", "one\n\ntwo words\nthree\n", num_prompts=2, output_len=7)
    assert [(one.prompt, one.max_tokens) for one in planned] == [("one", 7), ("two words", 7)]


def test_prompt_rows_may_have_more_fields(load):
    rows = [
        {"id": "a", "task": "qa", "prompt": "why", "max_tokens": 5},
        {"prompt": [1, 2, 3]},
    ]
    planned = load("prompts", json_lines(*rows), max_output_len=100)
    assert [(one.prompt, one.max_tokens, one.task) for one in planned] == [
        ("why", 5, "qa"),
        ((1, 2, 3), 100, None),
    ]


def test_prompts_become_messages_in_chat(load):
    planned = load("prompts", json_lines({"prompt": "why"}), endpoint="chat")
    assert planned[0].prompt is None
    assert planned[0].messages == ({"role": "user", "content": "why"},)


@pytest.mark.parametrize(
    ("row", "reported"),
    [
        ({"text": "why"}, "none of prompt, messages and turns"),
        ({"prompt": 3}, r"\$\.prompt"),
        ({"prompt": None}, r"\$\.prompt"),
        ({"prompt": ["a"]}, r"\$\.prompt"),
        ({"prompt": [1.5]}, r"\$\.prompt"),
        ({"prompt": [-1]}, r"\$\.prompt"),
        ({"prompt": [10**30]}, r"\$\.prompt"),
        ({"prompt": {"text": "a"}}, r"\$\.prompt"),
        *(
            ({key: text, "max_tokens": each}, r"\$\.max_tokens")
            for key, text in (("prompt", "a"), ("turns", ["a"]))
            for each in (0, -1, 1.5, "8", True, 10**30)
        ),
        ({"messages": [{"role": "user", "content": 3}]}, r"content"),
        ({"messages": [{"role": "user"}]}, r"content"),
        ({"prompt": [1]}, "accepts no token ids"),
        ([1], "must be an object"),
        ({"turns": []}, "no user message"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "no role 'judge'"),
    ],
)
def test_invalid_rows_are_errors_with_their_line(load, row, reported):
    with pytest.raises(WorkloadError, match=rf"line 2: .*{reported}"):
        load("prompts", json_lines({"prompt": "good"}, row), endpoint="chat", name="sample.jsonl")


def test_one_prompt_repeated():
    planned = load_workload(WorkloadOptions("prompts", prompt="hi", num_prompts=3, output_len=4))
    assert [(one.prompt, one.max_tokens) for one in planned] == [("hi", 4)] * 3


def test_turns_are_ordered(load):
    rows = [
        {"question_id": 81, "category": "writing", "turns": ["write", "rewrite"]},
        {"question_id": 1, "category": "generic", "turns": ["why"]},
    ]
    planned = load("prompts", json_lines(*rows), endpoint="chat")
    assert [one.messages[-1]["content"] for one in planned] == ["write", "rewrite", "why"]
    assert [one.follows for one in planned] == [None, 0, None]


def test_conversations_have_all_their_turns(load, tokenizer):
    text = sharegpt(
        [("gpt", "go on"), ("human", "a"), ("gpt", "bb"), ("human", "c"), ("gpt", "ddd")],
        [("gpt", "nobody asked")],
        [("system", "be kind"), ("user", "e"), ("assistant", "ffff")],
    )
    planned = load("conversations", text, endpoint="chat", tokenizer=tokenizer)
    turns = {
        tuple(planned[index].messages[-1]["content"] for index in conversation): conversation
        for conversation in conversations_of(planned)
    }
    assert set(turns) == {("a", "c"), ("e",)}
    assert [planned[index].max_tokens for index in turns["a", "c"]] == [2, 3]
    kind = planned[turns[("e",)][0]]
    assert [message["role"] for message in kind.messages] == ["system", "user"]
    assert kind.max_tokens == 4


def test_the_humaneval_format(load):
    rows = [
        {"task_id": f"HumanEval/{number}", "prompt": f"def f{number}():\n", "test": "…"}
        for number in range(3)
    ]
    content = gzip.compress(json_lines(*rows).encode())
    planned = load("humaneval", content, name="HumanEval.jsonl.gz", num_prompts=2)
    assert [one.prompt for one in planned] == ["def f0():\n", "def f1():\n"]
    assert {one.task for one in planned} == {"code"}


AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:17:03.9799600,4808,10\r\n"
    "2023-11-16 18:17:04.4799600,30,0\r\n"
    "2023-11-16 18:17:05.9799600,110,27\r\n"
)


def test_an_azure_trace(load):
    planned = load("azure", AZURE, time_scale=0.5)
    assert [len(one.prompt) for one in planned] == [4808, 30, 110]
    assert [one.max_tokens for one in planned] == [10, 1, 27]
    assert [one.arrival_s for one in planned] == pytest.approx([0.0, 0.25, 1.0])
    assert all(one.ignore_eos for one in planned)


def test_lengths_of_zero_become_one(load):
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,0,0\n"
    (one,) = load("azure", text)
    assert (len(one.prompt), one.max_tokens, one.arrival_s) == (1, 1, 0.0)
    row = {"timestamp": 0, "input_length": 0, "output_length": 0, "hash_ids": [7]}
    (one,) = load("mooncake", json.dumps(row))
    assert (len(one.prompt), one.max_tokens) == (1, 1)


def test_an_azure_trace_with_time_zones_and_limits(load):
    text = AZURE.replace("9600,", "9600+00:00,")
    planned = load("azure", text, max_input_len=100, max_output_len=20)
    assert [len(one.prompt) for one in planned] == [100, 30, 100]
    assert [one.max_tokens for one in planned] == [10, 1, 20]


@pytest.mark.parametrize(
    ("old", "new", "reported"),
    [
        ("2023-11-16 18:17:04", "yesterday", "line 3: Invalid isoformat"),
        (",30,", ",thirty,", "line 3: ContextTokens must be an integer, got 'thirty'"),
        (",30,", ",-30,", "line 3: ContextTokens must be from 0 to"),
        (",30,", ",30000000000,", "line 3: ContextTokens must be from 0 to"),
        (",30,", f",{'3' * 5_000},", "line 3: ContextTokens must be an integer"),
        (",30,", ",inf,", "line 3: ContextTokens must be an integer"),
        ("ContextTokens", "Tokens", "line 2: There is no column 'ContextTokens'"),
    ],
)
def test_an_invalid_azure_trace_is_an_error_with_its_line(load, old, new, reported):
    with pytest.raises(WorkloadError, match=reported):
        load("azure", AZURE.replace(old, new))


MOONCAKE = json_lines(
    {"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [46, 47, 48]},
    {"timestamp": 3000, "input_length": 1024, "output_length": 6, "hash_ids": [46, 47]},
    {"timestamp": 4500, "input_length": 600, "output_length": 7, "hash_ids": [46, 50]},
    {"timestamp": 5000, "input_length": 40, "output_length": 8},
)


@pytest.mark.parametrize("prompt_form", ["ids", "text"])
def test_a_mooncake_trace_shares_prefixes_by_hash(load, prompt_form):
    planned = load("mooncake", MOONCAKE, prompt_form=prompt_form)
    entries = [
        tuple(one.prompt.split(" ")) if prompt_form == "text" else one.prompt for one in planned
    ]
    assert [len(one) for one in entries] == [1100, 1024, 600, 40]
    assert entries[0][:1024] == entries[1]
    assert entries[2][:512] == entries[0][:512]
    assert entries[2][512:600] != entries[0][512:600]
    assert [one.arrival_s for one in planned] == [0.0, 3.0, 4.5, 5.0]


def test_blocks_do_not_depend_on_the_selected_requests(load):
    whole = load("mooncake", MOONCAKE)
    later = load("mooncake", "".join(MOONCAKE.splitlines(keepends=True)[2:3]))
    assert later[0].prompt == whole[2].prompt
    assert load("mooncake", MOONCAKE, seed=1)[0].prompt != whole[0].prompt


@pytest.mark.parametrize(
    ("row", "reported"),
    [
        ({"timestamp": 0, "input_length": 513, "output_length": 1, "hash_ids": [1]}, "do not make"),
        ({"timestamp": 0, "input_length": 5}, "output_length"),
        ({"timestamp": 0, "input_length": -5, "output_length": 1}, "input_length"),
        ({"timestamp": 0, "input_length": 5, "output_length": 10**30}, "output_length"),
        ({"timestamp": 1e300, "input_length": 5, "output_length": 1}, "timestamp"),
        ({"timestamp": "0", "input_length": 5, "output_length": 1}, "timestamp"),
    ],
)
def test_an_invalid_mooncake_trace_is_an_error_with_its_line(load, row, reported):
    with pytest.raises(WorkloadError, match=rf"line 5: .*{reported}"):
        load("mooncake", MOONCAKE + json.dumps(row))


def test_more_prompts_than_available_is_an_error(load):
    with pytest.raises(WorkloadError, match="has 2 usable rows, but --num-prompts is 3"):
        load("prompts", "a\nb\n", num_prompts=3)


def test_an_empty_file_is_an_error(load):
    with pytest.raises(WorkloadError, match="no usable rows"):
        load("prompts", "\n\n")


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"dataset": "imagenet"}, "no data set 'imagenet'"),
        ({"dataset": "sharegpt"}, "needs its file"),
        ({"dataset": "random", "endpoint": "embeddings"}, "completions or chat"),
        ({"dataset": "random", "path": Path("f.json")}, "--dataset what f.json is: prompts, share"),
        ({"dataset": "shared-prefix", "path": Path("f.json")}, "has no file"),
        ({"dataset": "random", "prompt_form": "ids", "endpoint": "chat"}, "no token ids"),
        ({"dataset": "random", "num_prompts": 0}, "--num-prompts must be at least 1"),
        ({"dataset": "random", "prefix_len": -1}, "--prefix-len"),
        ({"dataset": "random", "range_ratio": 1.0}, "--range-ratio"),
        ({"dataset": "random", "time_scale": -1.0}, "--time-scale"),
    ],
)
def test_invalid_options_are_refused(options, reported):
    with pytest.raises(OptionError, match=reported):
        load_workload(WorkloadOptions(**options))


def test_a_prompt_and_a_data_set_are_mutually_exclusive():
    with pytest.raises(OptionError, match="either a prompt or"):
        load_workload(WorkloadOptions("sharegpt", prompt="hi"))
