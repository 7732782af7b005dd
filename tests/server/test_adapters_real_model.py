"""LoRA adapters of a running server: the openai client, real adapters of a tiny model."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from headrace.testing.models.tiny_adapters import write_tiny_adapter
from headrace.testing.models.tiny_models import write_tiny_model
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, post

pytestmark = pytest.mark.xdist_group("adapters")

KEY = "key-of-the-test"
HEADERS = {"authorization": f"Bearer {KEY}"}
PROMPT = "One prompt of thirty-two tokens or more, which fills a block of the cache."


@dataclass(frozen=True)
class Served:
    server: ServerProcess
    client: openai.OpenAI
    folder: Path

    def complete(self, model: str, **more: Any) -> tuple[str, str]:
        """The model's name in the response, and the text."""
        completion = self.client.completions.create(
            model=model,
            prompt=PROMPT,
            max_tokens=24,
            temperature=0,
            extra_body={"ignore_eos": True},
            **more,
        )
        return completion.model, completion.choices[0].text

    def post(self, action: str, **body: Any) -> Answer:
        return post(self.server.url, f"/v1/{action}_lora_adapter", body, **HEADERS)

    def load(self, name: str, folder: str, **more: Any) -> Answer:
        return self.post("load", lora_name=name, lora_path=str(self.folder / folder), **more)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("adapters")
    model = write_tiny_model(folder / "model")
    for seed, name in enumerate(("first", "second", "third", "fourth")):
        write_tiny_adapter(folder / name, seed=seed)
    write_tiny_adapter(folder / "saved", modules_to_save=["lm_head"])
    write_tiny_adapter(folder / "large", r=17)
    named = {"name": "org/second", "path": str(folder / "second"), "base_model_name": "base"}
    arguments = (
        *("--served-model-name", "tiny", "--api-key", KEY, "--kv-cache-memory", "32MiB"),
        *("--enable-lora", "--allow-runtime-lora-updating", "--max-loras", "3"),
        *("--lora-modules", f"first={folder / 'first'}", json.dumps(named)),
    )
    with (
        ServerProcess(str(model.path), *arguments) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        yield Served(server, client, folder)


def test_adapters_are_listed_with_their_model_and_directory(served: Served) -> None:
    cards = {card.id: card.model_dump() for card in served.client.models.list()}
    assert list(cards) == ["tiny", "first", "org/second"]
    assert cards["tiny"]["parent"] is None
    assert cards["first"]["parent"] == "tiny"
    assert cards["first"]["root"] == str(served.folder / "first")
    assert cards["org/second"]["parent"] == "base"
    assert served.client.models.retrieve("org/second").model_dump() == cards["org/second"]


def test_requests_name_an_adapter_as_their_model(served: Served) -> None:
    names = ["tiny", "first", "org/second"]
    alone = [served.complete(name) for name in names]
    assert [model for model, _ in alone] == names
    assert len({text for _, text in alone}) == 3
    with ThreadPoolExecutor(9) as pool:
        assert list(pool.map(served.complete, names * 3)) == alone * 3


def test_a_chat_stream_of_an_adapter_equals_the_whole_answer(served: Served) -> None:
    arguments: dict[str, Any] = {
        "model": "first",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 16,
        "temperature": 0,
    }
    whole = served.client.chat.completions.create(**arguments)
    chunks = list(served.client.chat.completions.create(**arguments, stream=True))
    assert {chunk.model for chunk in chunks} == {whole.model} == {"first"}
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content


def test_an_adapter_is_loaded_replaced_and_unloaded(served: Served) -> None:
    assert served.load("third", "third").status == 200
    before = served.complete("third")
    assert served.complete("third") == before

    assert served.load("third", "fourth").error["param"] == "lora_name"
    assert served.complete("third") == before
    write_tiny_adapter(served.folder / "unrelated", seed=9)
    assert served.load("more", "unrelated").error["code"] == "invalid_adapter"  # no place is left

    assert served.post("unload", lora_name="third").status == 200
    with pytest.raises(openai.NotFoundError):
        served.complete("third")
    assert served.load("third", "fourth").status == 200  # with the prefix that was cached before
    assert served.complete("third") != before
    assert served.post("unload", lora_name="third").status == 200


def test_an_adapter_is_replaced_in_place(served: Served) -> None:
    assert served.post("unload", lora_name="org/second").status == 200
    assert served.load("place", "second").status == 200
    before = served.complete("place")
    assert served.load("place", "third", load_inplace=True).status == 200
    assert served.complete("place") != before
    assert served.load("place", "second", load_inplace=True).status == 200
    assert served.complete("place") == before
    assert served.post("unload", lora_name="place").status == 200
    assert served.load("org/second", "second").status == 200


def test_unloading_lets_running_requests_finish(served: Served) -> None:
    assert served.load("leaving", "third").status == 200
    arguments: dict[str, Any] = {
        "model": "leaving",
        "prompt": PROMPT,
        "max_tokens": 300,
        "temperature": 0,
        "n": 8,
        "extra_body": {"ignore_eos": True},
    }
    expected = served.client.completions.create(**arguments)
    stream = served.client.completions.create(**arguments, stream=True)
    texts = [""] * 8
    for number, chunk in enumerate(stream):
        if number == 0:
            assert served.post("unload", lora_name="leaving").status == 200
            with pytest.raises(openai.NotFoundError):
                served.complete("leaving")
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in expected.choices]
    assert served.load("leaving", "fourth").status == 200  # its place is free again
    assert served.post("unload", lora_name="leaving").status == 200


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"lora_name": "new"}, "missing_required_parameter", "lora_path"),
        ({"lora_name": "", "lora_path": "x"}, "invalid_value", "lora_name"),
        ({"lora_name": "tiny", "lora_path": "first"}, "invalid_value", "lora_name"),
        ({"lora_name": "new", "lora_path": "x", "rank": 4}, "unknown_parameter", "rank"),
        ({"lora_name": "new", "lora_path": "missing"}, "invalid_adapter", None),
        ({"lora_name": "new", "lora_path": "model"}, "invalid_adapter", None),
        ({"lora_name": "new", "lora_path": "saved"}, "invalid_adapter", None),
        ({"lora_name": "new", "lora_path": "large"}, "invalid_adapter", None),
    ],
)
def test_an_adapter_that_cannot_be_loaded_changes_nothing(
    served: Served, body: dict[str, Any], code: str, param: str | None
) -> None:
    if "lora_path" in body:
        body = {**body, "lora_path": str(served.folder / body["lora_path"])}
    refused = served.post("load", **body)
    assert (refused.status, refused.error["code"], refused.error["param"]) == (400, code, param)
    assert len(served.client.models.list().data) == 3


def test_unknown_adapters_and_missing_keys_are_refused(served: Served) -> None:
    unknown = served.post("unload", lora_name="unknown")
    assert (unknown.status, unknown.error["param"]) == (404, "lora_name")
    body = {"lora_name": "first"}
    assert post(served.server.url, "/v1/unload_lora_adapter", body).status == 401
    assert served.complete("first")[0] == "first"


def test_the_endpoints_are_off_by_default(server: ServerProcess) -> None:
    body = {"lora_name": "first", "lora_path": "/tmp"}
    assert post(server.url, "/v1/load_lora_adapter", body).status == 404


@pytest.mark.parametrize(
    "options",
    [
        ("--enable-lora", "--lora-modules", "a=/nonexistent"),
        ("--lora-modules", "a=/nonexistent"),
        ("--allow-runtime-lora-updating",),
    ],
    ids=["missing directory", "modules without --enable-lora", "endpoints without --enable-lora"],
)
def test_a_start_that_fails_prints_one_line(
    fake_command: tuple[str, ...], options: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [*fake_command, "parrot", *options, "--port", "0"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "rror" in line] == [
        done.stderr.splitlines()[-1]
    ]
