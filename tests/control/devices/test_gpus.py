import shutil
import subprocess

import pynvml  # type: ignore[import-untyped]
import pytest

from headrace.control.devices.gpus import Gpu, find_gpus, visible_gpus

GPUS = [Gpu("GPU-aa11", 0), Gpu("GPU-aa22", 1), Gpu("GPU-bb33", 2)]


def test_what_nvml_finds_is_what_there_is() -> None:
    listed = ""
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    found = find_gpus(None)
    assert all(f"GPU {gpu.index}:" in listed and gpu.uuid in listed for gpu in found)
    assert len(found) == listed.count("UUID: GPU-")


def test_nvmls_devices_are_kept_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, NVML's own answers take its place."""
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: GPUS[index])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: handle.uuid)
    assert find_gpus(None) == tuple(GPUS)
    assert find_gpus("2") == (GPUS[2],)


@pytest.mark.parametrize(
    ("visible", "indexes"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2, 0", [2, 0]),
        ("1,1", [1]),
        ("0,7,1", [0]),
        ("GPU-bb,GPU-aa22", [2, 1]),
        ("GPU-aa", []),
        ("MIG-1", []),
    ],
)
def test_what_is_hidden_from_us_is_not_ours_to_give(
    visible: str | None, indexes: list[int]
) -> None:
    assert [gpu.index for gpu in visible_gpus(GPUS, visible)] == indexes
