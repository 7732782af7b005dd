"""Rendering beside an event loop: a template affects only its own request."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from headrace.core.errors import (
    EngineDrainingError,
    InvalidParameterError,
    InvalidRequestError,
    QueueFullError,
)
from headrace.engine.rendering.chat_template import ChatTemplate
from headrace.engine.rendering.prompt_template import RenderJob
from headrace.engine.rendering.renderer import MAX_WAITING, MAX_WORKERS, PromptRenderer
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.models.sources.files import ModelFiles

DEADLINE_S = 60.0
PLAIN = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
LOOPS = (  # for as long as the request specifies
    "{% macro spin(n) %}{% for i in range(n) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
    "{% endmacro %}{{ spin(rounds or 0) }}" + PLAIN
)
ENDLESS = 100_000
MESSAGES = [{"role": "user", "content": "hi"}]
JOB = RenderJob(MESSAGES)
ENDLESS_JOB = RenderJob(MESSAGES, variables={"rounds": ENDLESS})


def chat_template(source: str) -> ChatTemplate:
    backend = Backend(models.WordLevel({"<s>": 0}, unk_token="<s>"))
    files = ModelFiles(name="little", format="huggingface", path=Path("little"))
    # The model's own, which is not looked at before it is used.
    return ChatTemplate(files, Tokenizer(backend, chat_template=source))


@asynccontextmanager
async def rendering(source: str, timeout_s: float = 30.0) -> AsyncIterator[PromptRenderer]:
    async with PromptRenderer(chat_template(source), timeout_s=timeout_s) as renderer:
        yield renderer


def run(test: Coroutine[None, None, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test

    asyncio.run(limited())


def children() -> list[psutil.Process]:
    """The processes that render."""
    return [child for child in psutil.Process().children() if renders(child)]


def renders(process: psutil.Process) -> bool:
    try:
        return "headrace.engine.rendering.render_process" in process.cmdline()
    except psutil.NoSuchProcess:  # it has ended
        return False


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_plain_template_needs_no_process() -> None:
    async def test() -> None:
        async with rendering(PLAIN) as renderer:
            assert await renderer.render(JOB) == "user:hi;"
            assert children() == []

    run(test())


def test_a_long_conversation_is_rendered_in_a_process() -> None:
    async def test() -> None:
        content = "x" * 10_000_000
        async with rendering(PLAIN) as renderer:
            job = RenderJob([{"role": "user", "content": content}])
            assert await renderer.render(job) == f"user:{content};"
            assert len(children()) == 1

    run(test())


def test_the_process_starts_before_the_first_prompt_and_ends_afterwards() -> None:
    async def test() -> None:
        async with rendering(LOOPS) as renderer:
            await until(lambda: len(children()) == 1)
            for _ in range(3):
                assert await renderer.render(JOB) == "user:hi;"
            assert len(children()) == 1
        assert children() == []

    run(test())


def test_an_endless_template_does_not_delay_others() -> None:
    async def test() -> None:
        async with rendering(LOOPS) as renderer:
            endless = asyncio.create_task(renderer.render(ENDLESS_JOB))
            for _ in range(3):
                assert await renderer.render(JOB) == "user:hi;"
            assert not endless.done()
            endless.cancel()

    run(test())


def test_an_endless_template_times_out() -> None:
    async def test() -> None:
        async with rendering(LOOPS, timeout_s=1.0) as renderer:
            with pytest.raises(InvalidRequestError, match="within 1 s"):
                await renderer.render(ENDLESS_JOB)
            assert children() == []
            assert await renderer.render(JOB) == "user:hi;"

    run(test())


def test_more_endless_templates_than_processes() -> None:
    async def test() -> None:
        async with rendering(LOOPS, timeout_s=0.5) as renderer:
            jobs = [ENDLESS_JOB] * (2 * MAX_WORKERS) + [JOB]
            results = await asyncio.gather(*map(renderer.render, jobs), return_exceptions=True)
            assert all(isinstance(result, InvalidRequestError) for result in results[:-1])
            assert results[-1] == "user:hi;"
            assert len(children()) <= MAX_WORKERS
        assert children() == []

    run(test())


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10000000000 }}",
        "{{ ('x' * 1000000) | center(10000000000) }}",
        "{% for i in range(99999) %}{{ messages[0].content * 10000 }}{% endfor %}",
        "{% set ns = namespace(x='x' * 1000) %}{% for i in range(60) %}"
        "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=['x' * 99999]) %}{% for i in range(60) %}"
        "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set x %}{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}{% endset %}{{ x }}",
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory elsewhere")
def test_a_template_that_exceeds_its_memory_limit_fails_its_request(source: str) -> None:
    async def test() -> None:
        async with rendering(source) as renderer:
            peak = asyncio.create_task(watch_memory())
            with pytest.raises(InvalidRequestError):
                await renderer.render(JOB)
            peak.cancel()

    run(test())


async def watch_memory() -> None:
    """Fails the loop's task when a process grows beyond its limit."""
    while True:
        for child in children():
            assert child.memory_info().rss < 1.1 * 1024**3
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__ }}{{ 1 // 0 }}",
        "{% if %}",
        "{{ raise_exception('no') }}",
        "{{ '\\ud800' * 2 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_errors_in_the_process_are_raised_in_the_parent(source: str) -> None:
    async def test() -> None:
        async with rendering(source) as renderer:
            for _ in range(2):
                with pytest.raises(InvalidRequestError, match="chat template"):
                    await renderer.render(JOB)

    run(test())


def test_the_invalid_parameter_is_named() -> None:
    async def test() -> None:
        async with rendering(LOOPS.replace("m.content", "m.content | upper")) as renderer:
            with pytest.raises(InvalidParameterError) as refused:
                await renderer.render(RenderJob(MESSAGES, continue_final_message=True))
            assert refused.value.param == "continue_final_message"

    run(test())


def test_a_process_that_dies_is_replaced() -> None:
    async def test() -> None:
        async with rendering(LOOPS, timeout_s=2.0) as renderer:
            endless = asyncio.create_task(renderer.render(ENDLESS_JOB))
            assert await renderer.render(JOB) == "user:hi;"  # by a second process
            for child in children():
                child.send_signal(signal.SIGKILL)
            with pytest.raises(InvalidRequestError):
                await endless
            assert await renderer.render(JOB) == "user:hi;"

    run(test())


def test_the_process_queue_is_bounded() -> None:
    async def test() -> None:
        async with rendering(LOOPS) as renderer:
            waiting = [
                asyncio.create_task(renderer.render(ENDLESS_JOB))
                for _ in range(MAX_WORKERS + MAX_WAITING)
            ]
            await asyncio.sleep(0)
            with pytest.raises(QueueFullError):
                await asyncio.gather(*[renderer.render(JOB) for _ in range(MAX_WORKERS + 1)])
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            assert await renderer.render(JOB) == "user:hi;"

    run(test())


def test_queued_prompts_fail_when_the_renderer_closes() -> None:
    async def test() -> None:
        async with rendering(LOOPS) as renderer:
            waiting = [
                asyncio.create_task(renderer.render(ENDLESS_JOB)) for _ in range(MAX_WORKERS + 2)
            ]
            await until(lambda: len(children()) == 1)
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, EngineDrainingError) for end in ends)
        assert children() == []

    run(test())


def test_a_request_that_is_cancelled_frees_its_process() -> None:
    async def test() -> None:
        async with rendering(LOOPS) as renderer:
            endless = asyncio.create_task(renderer.render(ENDLESS_JOB))
            assert await renderer.render(JOB) == "user:hi;"  # by a second process
            endless.cancel()
            with pytest.raises(asyncio.CancelledError):
                await endless
            assert await renderer.render(JOB) == "user:hi;"
            assert len(children()) == 1

    run(test())


@pytest.mark.parametrize("num_turns", [1, 3, 6])
def test_a_request_that_is_cancelled_while_its_process_starts_frees_it(num_turns: int) -> None:
    """``num_turns``: how often the loop ran before."""

    async def test() -> None:
        async with rendering(LOOPS) as renderer:
            for _ in range(MAX_WORKERS + 1):
                starting = asyncio.create_task(renderer.render(JOB))
                for _ in range(num_turns):
                    await asyncio.sleep(0)
                starting.cancel()
                await asyncio.wait([starting])
            assert await renderer.render(JOB) == "user:hi;"
            await until(lambda: len(children()) == 1)

    run(test())


def test_starting_processes_exit_with_the_loop() -> None:
    class EarlyEndError(Exception):
        pass

    async def test() -> None:
        async with rendering(LOOPS) as renderer:
            endless = asyncio.create_task(renderer.render(ENDLESS_JOB))
            endless.add_done_callback(lambda task: task.cancelled() or task.exception())
            await renderer.render(JOB)  # by a second process
            assert not endless.done()
            raise EarlyEndError

    with pytest.raises(EarlyEndError):
        run(test())
    assert children() == []


def test_the_process_environment_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_API_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")

    async def test() -> None:
        async with rendering(LOOPS):
            await until(lambda: len(children()) == 1)
            [child] = children()
            assert "secret" not in child.environ().values()

    run(test())


PARENT = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from test_renderer import ENDLESS_JOB, JOB, LOOPS, children, rendering
async def main():
    async with rendering(LOOPS, timeout_s=0.5) as renderer:
        await renderer.render(JOB)
        asyncio.create_task(renderer.render(ENDLESS_JOB))
        await asyncio.sleep(0)
        print(*[child.pid for child in children()], flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_a_process_exits_with_its_parent_in_any_state() -> None:
    async def test() -> None:
        parent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PARENT, str(Path(__file__).parent)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert parent.stdout is not None
        pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
        assert pids
        parent.kill()
        await parent.wait()
        await until(lambda: not any(map(is_running, pids)))

    run(test())


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
