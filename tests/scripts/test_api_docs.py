"""docs/api.md has the tables that `make api-docs` writes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from headrace.server.api.schemas.unsupported_fields import (
    IGNORED,
    REFUSED,
    REFUSED_IN_MESSAGES,
)
from headrace.server.documentation.differences import DIFFERENCES, REASONS
from headrace.server.documentation.field_table import Support, field_rows
from headrace.server.routes import ENDPOINTS

SCRIPT = Path(__file__).parents[2] / "scripts" / "api_docs.py"
BODIES = list(dict.fromkeys(model for each in ENDPOINTS for model in each.requests))


@pytest.fixture(scope="module")
def api_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_docs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(api_docs: ModuleType) -> None:
    page = api_docs.PAGE.read_text()
    assert page == api_docs.updated(page), "Run: make api-docs"


def test_what_is_between_the_markers_is_replaced(api_docs: ModuleType) -> None:
    page = api_docs.PAGE.read_text()
    row = "| `/v1/models` | GET |"
    assert page.count(row) == 1
    assert api_docs.updated(page.replace(row, "| `/v1/other` | GET |")) == page


def test_a_page_without_markers_is_refused(api_docs: ModuleType) -> None:
    with pytest.raises(SystemExit):
        api_docs.updated("# A page\n")


@pytest.mark.parametrize("model", BODIES)
def test_the_table_has_each_field_of_the_schema_once(model: type) -> None:
    rows = field_rows(model)
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert set(names) == set(model.model_json_schema()["properties"])
    supported = {row.name for row in rows if row.support in (Support.YES, Support.DIFFERENT)}
    assert supported == set(model.model_fields)


def test_differences_and_reasons_are_of_fields_that_are_there() -> None:
    for model, name in DIFFERENCES:
        assert name in model.model_fields
    refused = {field.name for field in REFUSED} | REFUSED_IN_MESSAGES.keys()
    for body in BODIES:
        refused |= getattr(body, "refused", {}).keys()
    assert REASONS.keys() <= refused
    assert not REASONS.keys() & IGNORED
