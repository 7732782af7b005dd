import os
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from headrace.control.devices.machine import GpuState, MachineReader
from headrace.control.processes.process_group import own_handle
from headrace.control.processes.record import write_record
from headrace.control.resources import ProcessHandle
from headrace.testing.processes.control_api import ControlApi
from headrace.version import __version__


def test_the_page_shows_the_machine_and_the_platforms_processes(
    api: ControlApi, viewer: TestClient
) -> None:
    api.layout.make()
    write_record(api.layout.daemon_file("control"), own_handle())
    write_record(api.layout.daemon_file("gateway"), ProcessHandle(os.getpid(), 1.0))
    state = MachineReader(api.layout).read()
    assert {one.name: one.pid for one in state.processes} == {
        "control": os.getpid(),
        "gateway": None,
        "supervisor": None,
    }
    assert 0 < state.num_available_bytes < state.num_memory_bytes
    assert 0 < state.num_free_bytes < state.num_disk_bytes
    page = viewer.get("/dashboard/machine").text
    for text in (str(api.layout.home), __version__, str(os.getpid()), "GiB"):
        assert text in page


def test_gpus_are_shown_with_what_they_are_assigned_to(
    api: ControlApi, viewer: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = MachineReader(api.layout).read()
    gpus = [
        GpuState(0, "GPU-a", "NVIDIA H100", 2**30, 80 * 2**30, 0.5),
        GpuState(1, "GPU-b", "NVIDIA H100", None, None, None),
    ]
    monkeypatch.setattr(MachineReader, "read", lambda self: replace(state, gpus=gpus))
    page = viewer.get("/dashboard/machine").text
    assert "1 GiB of 80 GiB" in page
    assert "50 %" in page
    assert "— of —" in page
