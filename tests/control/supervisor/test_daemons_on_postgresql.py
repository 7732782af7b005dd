"""A platform whose state is in PostgreSQL, and whose password nobody sees."""

from pathlib import Path

import psutil
import pytest
from sqlalchemy import make_url

from headrace.testing.processes.platform_process import PlatformProcess

pytestmark = pytest.mark.xdist_group("platforms")


def command_lines() -> str:
    found = []
    for process in psutil.process_iter():
        try:
            found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_state_is_kept_there_and_the_password_is_nowhere(database_url: str, tmp_path: Path) -> None:
    password = make_url(database_url).password
    assert password
    (tmp_path / "run.yaml").write_text("run: env; sleep 600\n")
    environment = {"HEADRACE_DATABASE_URL": database_url}
    home = tmp_path / "home"
    with PlatformProcess(home, "--no-containers", env=environment, cwd=tmp_path) as platform:
        platform.run("service", "create", "words")
        run_id = platform.run_json("run", "create", "-f", "run.yaml")["run_id"]
        log = home / "runs" / run_id / "log"
        platform.wait_until(lambda: log.exists() and "PWD=" in log.read_text(), "the run is up")
        assert password not in log.read_text()
        assert password not in platform.logs()
        assert password not in command_lines()
        assert not (home / "control" / "state.db").exists()
        platform.run("down")
        told = platform.up()
        assert password not in told
        assert [one["name"] for one in platform.run_json("service", "list")] == ["words"]
