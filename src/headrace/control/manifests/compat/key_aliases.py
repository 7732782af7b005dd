"""Aliases of keys: ``service.autoscaling`` is ``autoscaling``, and so on.

A document's keys are moved before its model parses it; problems show their original paths.
"""

from collections.abc import Mapping

from headrace.control.manifests.parsing.problems import (
    ManifestError,
    Path,
    Problem,
    show_path,
    unknown_key,
)
from headrace.control.manifests.parsing.yaml_document import Document

Moves = Mapping[Path, Path]
"""Canonical paths by alias."""

SERVICE_MOVES: Moves = {
    ("service", "expose"): ("expose",),
    ("service", "autoscaling"): ("autoscaling",),
    ("service", "monitoring"): ("monitoring",),
    ("service", "healthcheck"): ("readiness",),
    ("service", "auxiliary"): ("auxiliary",),
    ("service", "openapi"): ("openapi",),
    ("service", "serverless"): ("serverless",),
}

INTERACTIVE_MOVES: Moves = {
    ("interactive", "max_runtime"): ("max_runtime",),
    ("interactive", "runtime"): ("max_runtime",),
    ("interactive", "ports"): ("ports",),
}

VOLUME_MOVES: Moves = {("volumes",): ("import",)}
"""The older name."""


def rearranged(document: Document, moves: Moves) -> Document:
    """With every key at its canonical path. Raises ManifestError if it is at both."""
    for source, target in moves.items():
        if not _has(document, source):
            continue
        if _has(document, target):
            reason = f"says the same as {show_path(target)}; keep one"
            raise ManifestError([document.problem(source, reason, at_key=True)])
        document = document.moved(source, target)
    return document


def emptied(document: Document, section: str, moves: Moves) -> Document:
    """Without a section whose keys have all been moved. Raises ManifestError for other keys."""
    if section not in document.data:
        return document
    rest = document.data[section]
    if rest is not None and not isinstance(rest, dict):
        raise ManifestError([document.problem((section,), "must be keys with values")])
    known = [str(source[1]) for source in moves if source[0] == section]
    unknown: list[Problem] = [
        document.problem((section, key), unknown_key(key, known), at_key=True) for key in rest or {}
    ]
    if unknown:
        raise ManifestError(unknown)
    return document.dropped((section,))


def _has(document: Document, path: Path) -> bool:
    parent = document.value_at(path[:-1]) if len(path) > 1 else document.data
    return isinstance(parent, dict) and path[-1] in parent
