import json

import pytest
from typer.testing import CliRunner

from headrace.cli.main import build_app


@pytest.mark.parametrize("kind", ["revision", "gateway", "run"])
def test_prints_a_schema_for_each_file(kind: str) -> None:
    result = CliRunner().invoke(build_app(), ["schema", kind])
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False


def test_another_kind_is_refused() -> None:
    assert CliRunner().invoke(build_app(), ["schema", "pod"]).exit_code == 2
