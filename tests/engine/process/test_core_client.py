"""How the core's process is run: its environment and what it may import."""

import asyncio
from pathlib import Path

import psutil
import pytest

from headrace.engine.config import EngineConfig
from headrace.engine.process.core_client import CoreClient
from headrace.models.sources.files import ModelFiles
from headrace.testing.fakes.fake_core import FACTORY

FILES = ModelFiles(name="fake", format="huggingface", path=Path("/nowhere"))


async def environment_of_core(num_threads: int | None) -> dict[str, str]:
    client = await CoreClient.spawn(num_threads, FACTORY)
    try:
        await client.start(EngineConfig(model="fake"), FILES)
        return psutil.Process(client.pid).environ()
    finally:
        await client.kill()


def test_the_environment_sets_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    asked = asyncio.run(environment_of_core(3))
    assert (asked["OMP_NUM_THREADS"], asked["NUMBA_NUM_THREADS"]) == ("3", "3")
    left_to_user = asyncio.run(environment_of_core(None))
    assert left_to_user["OMP_NUM_THREADS"] == "5"


def test_files_in_the_current_directory_do_not_shadow_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgspec.py").write_text("raise RuntimeError('this is not msgspec')")
    monkeypatch.chdir(tmp_path)
    asyncio.run(environment_of_core(1))


def test_a_missing_factory_ends_the_core_with_a_clear_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from headrace.core.errors import EngineDeadError

    async def test() -> None:
        client = await CoreClient.spawn(1, "headrace.testing.no_such_module:build")
        try:
            with pytest.raises(EngineDeadError) as dead:
                await client.start(EngineConfig(model="fake"), FILES)
            assert dead.value.exit_code == 1
        finally:
            await client.kill()

    asyncio.run(test())
    assert "no_such_module" in capfd.readouterr().err


def test_killing_the_client_cancels_a_pending_start() -> None:
    async def test() -> None:
        client = await CoreClient.spawn(1, FACTORY)
        starting = asyncio.create_task(client.start(EngineConfig(model="fake?start_s=60"), FILES))
        await asyncio.sleep(0)
        await client.kill()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not psutil.pid_exists(client.pid)

    asyncio.run(test())
