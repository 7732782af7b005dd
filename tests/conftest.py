"""Fixtures that all tests share: the default model, a home of one's own, a GPU or a skip.

Knows nothing of any one part of Headrace, and imports none before a test asks for it.
"""

import functools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headrace.models.sources.files import ModelFiles

DEFAULT_MODEL = "smollm2-135m"


@pytest.fixture(scope="session")
def default_model_files() -> "ModelFiles":
    """The real default model, from the cache where it is there; with no network, an error.

    It lies in the same cache that `headrace serve` uses, so that it is fetched once a machine.
    """
    from headrace.models.sources.resolve import resolve_model

    return resolve_model(DEFAULT_MODEL)


@pytest.fixture
def tmp_headrace_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HEADRACE_HOME for this test alone, for what fills or removes caches."""
    home = tmp_path / "headrace-home"
    home.mkdir()
    monkeypatch.setenv("HEADRACE_HOME", str(home))
    return home


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not _has_cuda():
        pytest.skip("needs a CUDA device")


@functools.cache
def _has_cuda() -> bool:
    import torch

    # A CUDA build without a driver warns, and a warning would fail the test instead of skipping.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.cuda.is_available()
