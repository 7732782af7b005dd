import csv
import gzip
import json
from dataclasses import replace

import pytest

from headrace.bench.errors import OptionError, WorkloadError
from headrace.bench.prepare import PROMPT_SOURCES, prepare_prompts


def json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def message(number, **more):
    return {
        "message_id": f"m{number}",
        "parent_id": None,
        "text": f"Question {number}?",
        "role": "prompter",
        "lang": "en",
        "deleted": False,
        **more,
    }


def test_chat_uses_first_messages_of_english_conversations(tmp_path):
    path = tmp_path / "messages.jsonl"
    rows = [
        message(1),
        message(2, role="assistant", parent_id="m1"),
        message(3, parent_id="m2"),
        message(4, lang="es"),
        message(5, deleted=True),
        message(6),
        message(7, text="Question 6? "),  # the same again
    ]
    path.write_text(json_lines(rows))
    prompts = prepare_prompts(PROMPT_SOURCES["chat"], num_prompts=2, path=path)
    assert sorted(prompt.prompt for prompt in prompts) == ["Question 1?", "Question 6?"]
    assert {prompt.task for prompt in prompts} == {"chat"}


def test_chat_reads_conversation_trees(tmp_path):
    path = tmp_path / "trees.jsonl.gz"
    trees = [{"message_tree_id": "t", "prompt": message(1, replies=[])}]
    path.write_bytes(gzip.compress(json_lines(trees).encode()))
    (prompt,) = prepare_prompts(PROMPT_SOURCES["chat"], num_prompts=1, path=path)
    assert (prompt.id, prompt.prompt) == ("m1", "Question 1?")


def test_articles_are_truncated_after_a_sentence(tmp_path):
    path = tmp_path / "test.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "article", "highlights"])
        writer.writerow(["a1", "It rained, as it does. " * 100, "Rain."])
    source = PROMPT_SOURCES["summarization"]
    (prompt,) = prepare_prompts(source, num_prompts=1, path=path, max_prompt_len=500)
    assert 450 < len(prompt.prompt) <= 500
    assert prompt.prompt.endswith("as it does.\n\nSummary:")


def test_questions_in_either_spelling(tmp_path):
    from pyarrow import Table, parquet

    parquet.write_table(
        Table.from_pylist([{"question": "Who?", "question_id": "q1", "answer": {"value": "x"}}]),
        tmp_path / "a.parquet",
    )
    original = {"Data": [{"Question": "Where?", "QuestionId": "q2"}], "Domain": "Web"}
    (tmp_path / "b.json").write_text(json.dumps(original, indent=4))
    (tmp_path / "README").write_text("not a data set")
    prompts = prepare_prompts(PROMPT_SOURCES["qa"], num_prompts=2, path=tmp_path)
    assert {prompt.id: prompt.prompt for prompt in prompts} == {
        "q1": "Question: Who?\nAnswer:",
        "q2": "Question: Where?\nAnswer:",
    }


def test_sampling_depends_on_the_seed_and_not_on_row_order(tmp_path):
    rows = [{"task_id": f"HumanEval/{n}", "prompt": f"def f{n}():\n"} for n in range(50)]
    source = PROMPT_SOURCES["code"]
    draws = []
    for order, seed in ((rows, 0), (rows[::-1], 0), (rows, 1)):
        path = tmp_path / "h.jsonl"
        path.write_text(json_lines(order))
        draws.append(prepare_prompts(source, num_prompts=20, seed=seed, path=path))
    assert draws[0] == draws[1] != draws[2]
    assert len({prompt.id for prompt in draws[0]}) == 20


@pytest.mark.parametrize(
    ("task", "reported"),
    [
        ("chat", "no field role; is this OASST1"),
        ("summarization", "no text field 'article'"),
        ("qa", "no text field 'question'"),
        ("code", "no text field 'task_id'"),
    ],
)
def test_another_data_set_is_an_error_with_file_and_line(tmp_path, task, reported):
    path = tmp_path / "other.jsonl"
    path.write_text('{"image": 1}\n')
    with pytest.raises(WorkloadError, match=rf"other\.jsonl, line 1: There is {reported}"):
        prepare_prompts(PROMPT_SOURCES[task], path=path)


def test_too_few_rows(tmp_path):
    path = tmp_path / "h.jsonl"
    path.write_text(json_lines([{"task_id": "0", "prompt": "def f():"}]))
    with pytest.raises(WorkloadError, match="has 1 usable rows, but --num-prompts is 100"):
        prepare_prompts(PROMPT_SOURCES["code"], path=path)


def test_a_folder_without_data(tmp_path):
    with pytest.raises(WorkloadError, match="no file of a data set"):
        prepare_prompts(PROMPT_SOURCES["code"], path=tmp_path)


def test_an_invalid_parquet_file(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(WorkloadError, match="cannot be read"):
        prepare_prompts(PROMPT_SOURCES["code"], path=tmp_path / "a.parquet")


def test_zero_prompts_are_refused(tmp_path):
    with pytest.raises(OptionError, match="at least 1"):
        prepare_prompts(PROMPT_SOURCES["code"], num_prompts=0, path=tmp_path)


@pytest.fixture
def offline_datasets(tmp_path, monkeypatch):
    """The real package, with an empty cache and no network."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub" / "datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.filterwarnings("default")  # what other packages warn of is their affair
def test_the_package_datasets_is_used_for_the_hub(tmp_path, offline_datasets):
    folder = tmp_path / "repo"
    folder.mkdir()
    rows = [{"task_id": f"HumanEval/{n}", "prompt": f"def f{n}():\n"} for n in range(5)]
    (folder / "test.jsonl").write_text(json_lines(rows))
    source = replace(PROMPT_SOURCES["code"], repo=str(folder))  # it accepts folders as repositories
    prompts = prepare_prompts(source, num_prompts=5)
    assert sorted(prompt.id for prompt in prompts) == [row["task_id"] for row in rows]


@pytest.mark.filterwarnings("default")
def test_an_unreachable_hub(offline_datasets):
    with pytest.raises(WorkloadError, match=r"openai_humaneval from the hub \(.+\)"):
        prepare_prompts(PROMPT_SOURCES["code"])


def test_without_the_package_the_error_has_a_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(OptionError, match=r"headrace\[datasets\]"):
        prepare_prompts(PROMPT_SOURCES["code"])
