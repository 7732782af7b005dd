"""Check that folders and files of the package stay small enough to find one's way by names.

    python scripts/check_layout.py [ROOT]

Exit code 1, with one line for each folder with more than MAX_MODULES modules and each module with
more than MAX_LINES lines. ``__init__.py`` files do not count.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

MAX_MODULES = 12
MAX_LINES = 400
DEFAULT_ROOT = Path(__file__).resolve().parent.parent / "src" / "headrace"


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else DEFAULT_ROOT
    problems = list(find_problems(root))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def find_problems(root: Path) -> Iterator[str]:
    """One line for each folder or module below ``root`` that is too large."""
    for folder in sorted({path.parent for path in root.rglob("*.py")}):
        modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
        if len(modules) > MAX_MODULES:
            yield f"{folder}: {len(modules)} modules, at most {MAX_MODULES}; split it by noun"
        for module in modules:
            num_lines = len(module.read_text(encoding="utf-8").splitlines())
            if num_lines > MAX_LINES:
                yield f"{module}: {num_lines} lines, at most {MAX_LINES}; split it by noun"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
