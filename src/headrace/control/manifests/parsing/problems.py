"""Problems of a manifest, with their position."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from headrace.core.errors import HeadraceError

Path = tuple[str | int, ...]
"""The keys and indexes that lead to a value: ``("targets", 0, "weight")``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem."""

    file: str
    line: int
    """From 1."""
    column: int
    """From 1."""
    path: str
    """As `show_path` writes it; empty for the file as a whole."""
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: "
        return f"{place}{self.path}: {self.reason}" if self.path else f"{place}{self.reason}"


class ManifestError(HeadraceError):
    """A manifest is invalid; nothing was changed. ``problems`` has every problem found."""

    code = "invalid_manifest"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def show_path(path: Path) -> str:
    """``targets[0].weight``; other keys than plain words are quoted: ``import["/code/"]``."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        elif step.replace("_", "").replace("-", "").isalnum():
            shown += f".{step}" if shown else step
        else:
            shown += f'["{step}"]'
    return shown


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The reason, with the closest known key."""
    close = get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f"unknown key; did you mean `{close[0]}`?" if close else "unknown key"
