"""``headrace serve`` with the default model and the openai client, end to end."""

import json
import shutil
import subprocess
from collections.abc import Iterator

import openai
import pytest

from headrace.testing.processes.server_process import ServerProcess

MODEL = "smollm2-135m"
QUESTION = {"role": "user", "content": "What is the capital of France?"}


@pytest.fixture(scope="module")
def real_client(real_server: ServerProcess) -> Iterator[openai.OpenAI]:
    url = f"{real_server.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120.0) as client:
        yield client


def test_the_capital_of_france(real_client: openai.OpenAI) -> None:
    reply = real_client.chat.completions.create(
        model=MODEL,
        messages=[QUESTION],  # type: ignore[list-item]
        max_tokens=32,
        temperature=0,
    )
    assert "Paris" in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"


def test_a_stream_has_the_same_text(real_client: openai.OpenAI) -> None:
    arguments = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 24, "temperature": 0}
    whole = real_client.completions.create(**arguments)
    chunks = real_client.completions.create(**arguments, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text


def test_an_evaluation_harness_gets_the_likelihood_of_a_continuation(
    real_client: openai.OpenAI,
) -> None:
    """As lm-eval's loglikelihood does: echo with logprobs, of which the last token is dropped."""
    context = "The capital of France is"
    arguments = {"model": MODEL, "temperature": 0, "logprobs": 1}
    written = real_client.completions.create(
        prompt=context, max_tokens=6, extra_body={"return_token_ids": True}, **arguments
    ).choices[0]
    ids = written.model_extra or {}
    prompt = [*ids["prompt_token_ids"], *ids["token_ids"]]
    assert written.logprobs is not None
    for max_tokens in (0, 1):
        echoed = real_client.completions.create(
            prompt=prompt, max_tokens=max_tokens, echo=True, **arguments
        ).choices[0]
        assert echoed.logprobs is not None
        end = len(prompt)
        logprobs = (echoed.logprobs.token_logprobs or [])[end - 6 : end]
        best = (echoed.logprobs.top_logprobs or [])[end - 6 : end]
        assert logprobs == pytest.approx(written.logprobs.token_logprobs, abs=0.1)
        assert all(each == max(top.values()) for each, top in zip(logprobs, best, strict=True))
        assert len(echoed.logprobs.tokens or []) == end + max_tokens
        assert echoed.text.startswith(context + written.text)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_printed_example_request_works(real_server: ServerProcess) -> None:
    lines = real_server.output.splitlines()
    command = next(line for line in lines if line.startswith("curl "))
    done = subprocess.run(command, shell=True, capture_output=True, check=False, timeout=120.0)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"]
