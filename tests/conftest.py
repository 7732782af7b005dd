"""What all tests share: environment, default model, home, parallel groups, checks of clean-up.

Imports no part of Headrace before a test asks for it.
"""

import functools
import gc
import os
import secrets
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from headrace.models.sources.files import ModelFiles
    from headrace.testing.processes.container_runtime import ContainerRuntime
    from headrace.testing.processes.control_api import ControlApi

DEFAULT_MODEL = "smollm2-135m"
FOREIGN_VARIABLES = (
    # What a user sets for the servers and platforms of their own.
    *("HEADRACE_API_KEY", "HEADRACE_API_TOKEN", "HEADRACE_API_URL", "HEADRACE_DATABASE_URL"),
    # How wide and how colourful a terminal is, and what makes Rich and Typer take a pipe for one.
    *("COLUMNS", "LINES", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "NO_COLOR", "PY_COLORS"),
    *("GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    # Where git works, as it tells its hooks: tests have repositories of their own.
    *("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"),
    # Without bytecode, each of hundreds of processes would compile all of Headrace.
    "PYTHONDONTWRITEBYTECODE",
)
OWN_VARIABLES = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    # PyTorch's threads sleep while they wait: three workers have more threads than there are cores.
    "OMP_WAIT_POLICY": "PASSIVE",
}
LOOPBACK = "127.0.0.1,localhost"
PLATFORMS = "platforms"
"""The group of the tests that start a whole platform: at most one of them runs at a time."""
RUN_VARIABLE = "HEADRACE_TEST_RUN"
"""Identifies the run in the environment of every process that it starts, directly or not."""
RESOURCE_TRACKER = "multiprocessing.resource_tracker"
"""In the command of multiprocessing's helper, which ends with the process that it belongs to."""
SHARED_SERVERS = ("real_server",)
"""Session fixtures that take long to start: all tests that use one are one group."""


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is imported that reads the environment."""
    for name in FOREIGN_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(OWN_VARIABLES)
    sys.dont_write_bytecode = False
    if RUN_VARIABLE not in os.environ:  # else a worker, or a run that a test has started
        os.environ[RUN_VARIABLE] = config.stash[_RUN] = secrets.token_hex(8)
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


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the run has left: an interrupted one leaves servers and whole platforms.

    A platform's processes are in sessions of their own, where no signal of a terminal gets to.
    """
    run = config.stash.get(_RUN, None)
    while run is not None and (left := _processes_of(run)):
        for process, command in left.items():
            print(f"killed, since the tests left it running: {command}", file=sys.stderr)
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)


_RUN = pytest.StashKey[str]()
"""The run's identity, where it began: a worker has none."""


def _processes_of(run: str) -> dict[psutil.Process, str]:
    """All processes that it has started, with their command lines."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if process.environ().get(RUN_VARIABLE) == run and RESOURCE_TRACKER not in command:
                found[process] = command
    return found


def pytest_xdist_auto_num_workers() -> int:
    """Three workers for two cores, since half of the time of the tests is waiting."""
    return max(1, (psutil.cpu_count() or 1) * 3 // 2)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its parallel group, and put the groups that take longest first.

    pytest-xdist runs the tests of a group on one worker, in order. A test without an
    ``xdist_group`` mark belongs to the group of its file, so that the file's fixtures are set up
    once.
    """
    slow_groups = set()
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            shared = [name for name in SHARED_SERVERS if name in getattr(item, "fixturenames", ())]
            item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.path.stem))
        if item.get_closest_marker("slow"):
            slow_groups.add(_group(item))

    def order(item: pytest.Item) -> tuple[bool, bool]:
        return _group(item) != PLATFORMS, _group(item) not in slow_groups

    items.sort(key=order)  # stable: inside a group the order stays


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Exclude what is imported and collected from garbage collections: with all of that, each would
    take most of a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    name: str = marker.args[0]
    return name


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """At the end of the session no child of the test process is left, running or a zombie."""
    yield
    left = {child.pid: child.as_dict(["cmdline", "status"]) for child in _children()}
    seen_after = request.config.stash.get(_CHILDREN, {})
    assert not left, "\n".join(
        f"process {pid} was left, seen after {seen_after.get(pid, 'the last test')}: {state}"
        for pid, state in left.items()
    )


_CHILDREN = pytest.StashKey[dict[int, str]]()
"""The children of the test process, and the first test file after which each was there."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    yield
    if nextitem is None or nextitem.path != item.path:
        seen_after = item.config.stash.setdefault(_CHILDREN, {})
        for child in _children():
            seen_after.setdefault(child.pid, item.nodeid)


def _children() -> list[psutil.Process]:
    """Direct children, less the helper of multiprocessing."""
    found = []
    for child in psutil.Process().children():
        try:
            if RESOURCE_TRACKER not in " ".join(child.cmdline()):
                found.append(child)
        except psutil.ZombieProcess:
            found.append(child)
        except psutil.NoSuchProcess:  # it has ended since
            continue
    return found


@pytest.fixture(scope="session")
def default_model_files() -> "ModelFiles":
    """The real default model, from the cache where it is there; with no network, an error.

    It lies in the same cache that `headrace serve` uses, so that it is fetched once a machine.
    """
    from headrace.models.sources.resolve import resolve_model

    return resolve_model(DEFAULT_MODEL)


@pytest.fixture(scope="session")
def container_runtime() -> "Iterator[ContainerRuntime]":
    """With an image, and what it stores in a folder that is removed at the end."""
    from headrace.testing.processes.container_runtime import find_client, open_runtime

    client = find_client()
    if client is None:
        pytest.skip("needs a container runtime: apt-get install podman runc busybox-static")
    with ExitStack() as stack:
        try:
            runtime = stack.enter_context(open_runtime(client))
        except RuntimeError as error:
            pytest.skip(f"no container can be run here: {error}")
        yield runtime


@pytest.fixture
def tmp_headrace_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HEADRACE_HOME for this test alone, for what fills or removes caches."""
    home = tmp_path / "headrace-home"
    home.mkdir()
    monkeypatch.setenv("HEADRACE_HOME", str(home))
    return home


@pytest.fixture
def api(tmp_path: Path) -> "Iterator[ControlApi]":
    """The control plane's API and dashboard over an empty store."""
    from headrace.testing.processes.control_api import ControlApi

    api = ControlApi(tmp_path)
    yield api
    api.close()


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
