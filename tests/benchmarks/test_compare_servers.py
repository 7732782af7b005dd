"""The comparison of servers: each server's best settings are searched, used and recorded."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "compare_servers.py"
FAKE = f"{sys.executable} {Path(__file__).with_name('fake_model_server.py')} {{port}}"
FAST, SLOW, BROKEN = f"{FAKE} 0", f"{FAKE} 0.2", "false {port}"


def compare(*arguments: str, output: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--pairs", "1", "--output", str(output)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def runs_of(path: Path) -> dict[str, Any]:
    """The setting of each server's run."""
    return {run["target"]: run["setting"] for run in json.loads(path.read_text())["runs"]}


def test_the_best_candidate_is_compared_and_recorded_with_its_command(tmp_path: Path) -> None:
    done = compare(
        *("--server", f"ours={FAST}", "--workloads", "W2"),
        *("--server", f"peer={SLOW}", "--server", f"peer={BROKEN}", "--server", f"peer={FAST}"),
        output=tmp_path / "r.json",
    )
    settings = runs_of(tmp_path / "r-W2.json")
    assert settings["peer"]["server_command"] == FAST
    trials = settings["peer"]["settings_search"]
    assert [trial["command"] for trial in trials] == [SLOW, BROKEN, FAST]
    assert [trial["is_best"] for trial in trials] == [False, False, True]
    assert [len(trial["output_tokens_per_s"]) for trial in trials] == [1, 0, 1]
    assert trials[0]["output_tokens_per_s"][0] < trials[2]["output_tokens_per_s"][0]
    assert trials[0]["problem"] is None
    assert "exited with 1" in trials[1]["problem"]
    assert settings["ours"]["settings_search"] == []
    assert settings["ours"]["server_command"] == FAST
    assert {path.name for path in tmp_path.glob("*.log")} == {
        *("r.ours.log", "r.peer-1.log", "r.peer-2.log", "r.peer-3.log")
    }
    assert "output tokens/s" in done.stdout


def test_a_peer_without_a_working_candidate_is_an_error(tmp_path: Path) -> None:
    done = compare(
        *("--server", f"ours={FAST}", "--workloads", "W2"),
        *("--server", f"peer={BROKEN}", "--server", f"peer={BROKEN} again"),
        output=tmp_path / "r.json",
        code=1,
    )
    assert "peer: every candidate failed" in done.stderr
    assert not (tmp_path / "r-W2.json").exists()
