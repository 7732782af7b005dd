import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from headrace.control import process
from headrace.control.layout import Layout
from headrace.listen.tls import TlsFiles


def test_all_its_loops_run_beside_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some act a minute after they began, so that no test waits for what they do."""
    begun: list[str] = []

    async def serve(
        app: FastAPI,
        port: int,
        loops: Mapping[str, Coroutine[Any, Any, None]],
        ending: asyncio.Event,
        tls: TlsFiles | None,
    ) -> None:
        tasks = [asyncio.create_task(loop) for loop in loops.values()]
        await asyncio.sleep(0)
        begun.extend(loops)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    monkeypatch.setattr(process, "serve", serve)
    options = process.ControlPlaneOptions(
        layout=Layout(tmp_path),
        port=1,
        gateway_url="http://localhost:1",
        gateway_admin_url="http://127.0.0.1:1",
        database_url=f"sqlite:///{tmp_path}/state.db",
        containers="never",
    )
    asyncio.run(process.run_control_plane(options))
    names = ["control loop", "garbage collector", "history", "run controller", "usage"]
    assert sorted(begun) == names
