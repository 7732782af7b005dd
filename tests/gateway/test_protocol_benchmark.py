"""benchmarks/gateway_protocol.py runs and measures both gateways."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gateway_protocol.py"


def test_the_smoke_mode_measures_both_gateways(tmp_path: Path) -> None:
    output = tmp_path / "costs.json"
    process = subprocess.run(
        [sys.executable, str(SCRIPT), "--smoke", "--output", str(output)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stdout
    costs = json.loads(output.read_text())["costs"]
    assert {name: len(turns) for name, turns in costs.items()} == {"headrace": 1, "aiohttp": 1}
    names = {"cpu_us_per_request", "cpu_us_per_chunk", "added_latency_us"}
    assert all(turn.keys() == names for turns in costs.values() for turn in turns)
