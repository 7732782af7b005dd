import gzip
import json

import pytest
import typer
from typer.testing import CliRunner

from headrace.bench.workloads.factory import load_workload
from headrace.bench.workloads.options import WorkloadOptions
from headrace.cli.bench.prepare import prepare


@pytest.fixture
def app():
    app = typer.Typer()
    app.command()(prepare)
    return app


def test_the_command_writes_what_an_experiment_reads(tmp_path, app):
    data = tmp_path / "HumanEval.jsonl.gz"
    rows = [{"task_id": f"HumanEval/{n}", "prompt": f"def f{n}():\n"} for n in range(9)]
    data.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    arguments = ["--task", "code", "--from", str(data), "--num-prompts", "4"]
    result = CliRunner().invoke(app, [*arguments, "--output-dir", str(tmp_path / "p")])
    path = tmp_path / "p" / "code.jsonl"
    assert result.exit_code == 0, result.output
    assert f"Wrote 4 prompts to {path}" in result.output
    planned = load_workload(WorkloadOptions("prompts", path))
    assert [(one.task, one.max_tokens) for one in planned] == [("code", 256)] * 4
    assert set(json.loads(path.read_text().splitlines()[0])) == {
        "id",
        "task",
        "prompt",
        "max_tokens",
    }


def test_one_source_cannot_be_four_tasks(tmp_path, app):
    result = CliRunner().invoke(app, ["--from", str(tmp_path)])
    assert result.exit_code == 1
    assert "choose it with --task" in result.output
