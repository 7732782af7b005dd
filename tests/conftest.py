"""What all tests share: a plain environment, the default model, an own home, a GPU or a skip.

Knows nothing of any one part of Headrace, and imports none before a test asks for it.
"""

import functools
import os
import signal
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from headrace.models.sources.files import ModelFiles

DEFAULT_MODEL = "smollm2-135m"
FOREIGN_VARIABLES = (
    # What a user sets for the servers and platforms of their own.
    *("HEADRACE_API_KEY", "HEADRACE_API_TOKEN", "HEADRACE_API_URL", "HEADRACE_DATABASE_URL"),
    # How wide and how colourful a terminal is, and what makes Rich and Typer take a pipe for one.
    *("COLUMNS", "LINES", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "NO_COLOR", "PY_COLORS"),
    *("GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    # Where git works, as it tells its hooks: tests have repositories of their own.
    *("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"),
)
OWN_VARIABLES = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
LOOPBACK = "127.0.0.1,localhost"


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported that reads the environment."""
    for name in FOREIGN_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(OWN_VARIABLES)
    for name in ("no_proxy", "NO_PROXY"):  # no proxy gets to what tests start on this machine
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), LOOPBACK)))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that runs us in the background has Ctrl-C ignored, and what we start inherits it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--hypothesis-profile", None) is None:
        # A busy machine may stop for longer than any example may take.
        patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
        settings.register_profile("patient", settings.default, **patient)
        settings.load_profile("patient")


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
