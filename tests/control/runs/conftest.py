from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.processes.controlled_runs import ControlledRuns


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[ControlledRuns]:
    runs = ControlledRuns(tmp_path)
    yield runs
    runs.close()
