"""What the documents name is there: tests that hold a promise, and the targets of links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def test_each_promise_names_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    rows = re.findall(r"^\| (?!promise|---)(.*) \| (.*) \|$", text, re.MULTILINE)
    assert rows
    for promise, tests in rows:
        paths = re.findall(r"`([\w/]+\.py)`", tests)
        assert paths, promise
        for path in paths:
            assert (ROOT / "tests" / path).is_file(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        file = document.parent / path
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target


def _anchors(document: Path) -> set[str]:
    """Of the headings, as the usual Markdown renderers make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
