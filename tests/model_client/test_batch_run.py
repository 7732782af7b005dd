"""A batch against a real HTTP server: order, retries, and continuing after any interruption."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import InvalidInputError
from headrace.model_client import batch_run
from headrace.model_client.batch_files import BatchInput, BatchOutput
from headrace.model_client.batch_run import BatchOptions, BatchProgress, run_batch
from headrace.model_client.model_server import ServerAddress
from headrace.testing.servers.batch_server import BatchServer


@pytest.fixture(scope="module")
def server() -> Iterator[BatchServer]:
    with BatchServer() as server:
        yield server


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_run, "_FIRST_DELAY_S", 0.001)


def write_requests(path: Path, prompts: Sequence[str]) -> None:
    lines = [
        json.dumps({"custom_id": f"c{i}", "url": "/v1/completions", "body": {"prompt": prompt}})
        for i, prompt in enumerate(prompts)
    ]
    path.write_text("".join(f"{line}\n" for line in lines))


def run(
    folder: Path, server: BatchServer, *, retry_failed: bool = False, **options: Any
) -> BatchProgress:
    source = BatchInput(folder / "in.jsonl")
    output = BatchOutput(folder / "out.jsonl", retry_failed=retry_failed)
    is_complete = False
    try:
        address = ServerAddress(server.url)
        progress = asyncio.run(
            run_batch(source, output, address, BatchOptions(**options), lambda _: None)
        )
        is_complete = True
    finally:
        output.close(is_complete=is_complete)
        source.close()
    return progress


def results(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def texts(folder: Path) -> list[str]:
    return [each["response"]["body"]["choices"][0]["text"] for each in results(folder)]


def test_results_are_in_the_order_of_the_requests(server: BatchServer, tmp_path: Path) -> None:
    prompts = [f"prompt {i}" for i in range(50)]
    write_requests(tmp_path / "in.jsonl", prompts)
    progress = run(tmp_path, server, max_concurrency=8)
    assert texts(tmp_path) == prompts
    assert [each["custom_id"] for each in results(tmp_path)] == [f"c{i}" for i in range(50)]
    assert results(tmp_path)[0]["response"]["request_id"] == "id of prompt 0"
    assert (progress.num_succeeded, progress.num_failed) == (50, 0)
    assert (progress.num_prompt_tokens, progress.num_output_tokens) == (100, 150)
    assert server.max_busy <= 8


@pytest.mark.parametrize("prompt", ["fail 503 2", "fail 429 3", "cut 2"])
def test_a_request_is_retried_while_its_server_cannot_answer(
    prompt: str, server: BatchServer, tmp_path: Path
) -> None:
    write_requests(tmp_path / "in.jsonl", [prompt])
    assert run(tmp_path, server, max_retries=3).num_succeeded == 1
    assert texts(tmp_path) == [prompt]


def test_a_request_fails_after_its_last_retry(server: BatchServer, tmp_path: Path) -> None:
    write_requests(tmp_path / "in.jsonl", ["fail 500 90", "cut 91", "ok"])
    progress = run(tmp_path, server, max_retries=1)
    assert (progress.num_succeeded, progress.num_failed) == (1, 2)
    status, no_response, ok = results(tmp_path)
    assert status["response"]["status_code"] == 500
    assert no_response["response"] is None
    assert no_response["error"]["code"] == "connection_failed"
    assert ok["response"]["status_code"] == 200
    assert server.prompts["fail 500 90"] == server.prompts["cut 91"] == 2


def test_a_refused_request_is_sent_once(server: BatchServer, tmp_path: Path) -> None:
    write_requests(tmp_path / "in.jsonl", ["fail 400 92"])
    assert run(tmp_path, server).num_failed == 1
    assert server.prompts["fail 400 92"] == 1


def test_a_response_that_takes_too_long_is_a_timeout(server: BatchServer, tmp_path: Path) -> None:
    server.gate.clear()
    write_requests(tmp_path / "in.jsonl", ["wait"])
    assert run(tmp_path, server, timeout_s=0.2).num_failed == 1
    assert results(tmp_path)[0]["error"]["code"] == "timeout"
    server.gate.set()


@settings(max_examples=25)
@given(data=st.data())
def test_a_batch_continues_from_any_byte(
    data: st.DataObject, server: BatchServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("batch")
    prompts = [f"p{i}" for i in range(6)]
    write_requests(folder / "in.jsonl", prompts)
    run(folder, server)
    whole = (folder / "out.jsonl").read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    (folder / "out.jsonl").write_bytes(whole[:cut])
    progress = run(folder, server)
    assert progress.num_reused == whole[:cut].count(b"\n")
    assert (folder / "out.jsonl").read_bytes().startswith(whole[: whole[:cut].rfind(b"\n") + 1])
    assert texts(folder) == prompts


def test_failed_requests_are_sent_again_on_demand(server: BatchServer, tmp_path: Path) -> None:
    prompts = ["a", "fail 400 1", "b", "fail 404 1", "c"]
    write_requests(tmp_path / "in.jsonl", prompts)
    server.prompts.clear()
    assert run(tmp_path, server).num_failed == 2
    assert run(tmp_path, server).num_failed == 2  # kept
    progress = run(tmp_path, server, retry_failed=True)
    assert (progress.num_reused, progress.num_succeeded, progress.num_failed) == (3, 5, 0)
    assert texts(tmp_path) == prompts
    assert server.prompts["a"] == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("content", ["{}\n", "a text\n", '{"custom_id": "other"}\n'])
def test_a_file_that_is_no_output_is_left_alone(
    content: str, server: BatchServer, tmp_path: Path
) -> None:
    write_requests(tmp_path / "in.jsonl", ["a"])
    (tmp_path / "out.jsonl").write_text(content)
    with pytest.raises(InvalidInputError):
        run(tmp_path, server)
    assert (tmp_path / "out.jsonl").read_text() == content


def test_the_output_of_another_batch_is_left_alone(server: BatchServer, tmp_path: Path) -> None:
    write_requests(tmp_path / "in.jsonl", ["a", "b"])
    run(tmp_path, server)
    before = (tmp_path / "out.jsonl").read_bytes()
    lines = (tmp_path / "in.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "in.jsonl").write_text("".join(reversed(lines)))
    with pytest.raises(InvalidInputError):
        run(tmp_path, server)
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_a_slow_request_holds_back_only_a_bounded_number(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its results wait in memory, so no more are requested than the window has."""
    monkeypatch.setattr(batch_run, "_WINDOW_FACTOR", 3)
    server.gate.clear()
    server.prompts.clear()
    write_requests(tmp_path / "in.jsonl", ["wait", *(f"quick {i}" for i in range(20))])
    source = BatchInput(tmp_path / "in.jsonl")
    output = BatchOutput(tmp_path / "out.jsonl", retry_failed=False)

    async def main() -> int:
        batch = asyncio.create_task(
            run_batch(
                source,
                output,
                ServerAddress(server.url),
                BatchOptions(max_concurrency=2),
                lambda _: None,
            )
        )
        async with asyncio.timeout(30):
            while server.prompts.total() < 6:  # a window of 2 * 3
                await asyncio.sleep(0.01)
        num_sent = server.prompts.total()
        server.gate.set()
        await batch
        return num_sent

    assert asyncio.run(main()) == 6
    output.close(is_complete=True)
    source.close()
    assert len(results(tmp_path)) == 21
