"""``headrace usage``, against the real API."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from headrace.cli.main import build_app
from headrace.core.gateway.usage import UsageCounts, UsageKey
from headrace.testing.processes.control_api import ControlApi

Usage = Callable[..., Result]


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[Usage]:
    """The command, for a platform with usage of today and of ten days ago."""
    api = ControlApi(tmp_path)
    today = datetime.now(UTC).date()
    with api.store.begin() as tx:
        for days, num in ((0, 3), (10, 1000)):
            day = (today - timedelta(days=days)).isoformat()
            tx.add_usage(day, {UsageKey("svc", "ci", "m"): UsageCounts(num, 1, 20, 5, 4)})
        tx.add_usage(today.isoformat(), {UsageKey("chat", "", "m"): UsageCounts(7)})
    with api.serving() as url:

        def run(*arguments: str, code: int = 0) -> Result:
            environment = {
                "COLUMNS": "200",
                "HEADRACE_HOME": str(tmp_path),
                "HEADRACE_API_URL": url,
                "HEADRACE_API_TOKEN": api.viewer_token,
            }
            done = CliRunner(env=environment).invoke(build_app(), ["usage", *arguments])
            assert done.exit_code == code, done.output
            return done

        yield run
    api.close()


def test_usage_is_a_table_with_most_tokens_first(usage: Usage) -> None:
    lines = [line.split() for line in usage().stdout.splitlines()[3:]]
    assert lines == [
        ["svc", "ci", "m", "1,003", "2", "40", "10", "8"],
        ["chat", "(none)", "m", "7", "0", "0", "0", "0"],
    ]


def test_usage_is_grouped_limited_in_time_and_filtered(usage: Usage) -> None:
    rows = json.loads(usage("--since", "7d", "--by", "key", "--by", "day", "--json").stdout)
    assert [(row["key"], row["num_requests"], row["service"]) for row in rows] == [
        ("ci", 3, None), ("", 7, None),
    ]  # fmt: skip
    assert rows[0]["day"] == datetime.now(UTC).date().isoformat()
    rows = json.loads(usage("--since", "2000-01-01", "-s", "svc", "--by", "model", "--json").stdout)
    assert [row["num_requests"] for row in rows] == [1003]
    assert json.loads(usage("--model", "other", "--json").stdout) == []


@pytest.mark.parametrize("since", ["0d", "91d", "yesterday", "2026-13-01"])
def test_an_invalid_first_day_is_refused(usage: Usage, since: str) -> None:
    assert "--since" in usage("--since", since, code=2).output
