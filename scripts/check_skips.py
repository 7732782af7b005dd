"""Say which tests were skipped, and why; fail where more were than a list allows.

    python scripts/check_skips.py REPORT ALLOWED

REPORT is the JUnit XML file of a pytest run. Each line of ALLOWED is a number and a pattern: so
many tests, at most, may be skipped for a reason that the pattern matches from its beginning. Other
reasons are not allowed.
"""

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree


@dataclass(frozen=True)
class Allowance:
    max_num_tests: int
    pattern: re.Pattern[str]
    """Matches the reasons that share this number."""


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: check_skips.py REPORT ALLOWED", file=sys.stderr)
        return 2
    report, allowed = map(Path, arguments)
    skipped = read_skipped(report)
    for reason, num in sorted(skipped.items()):
        print(f"{num:5} skipped: {reason}")
    excess = find_excess(skipped, read_allowances(allowed))
    for line in excess:
        print(f"Too many tests were skipped: {line}. See {allowed}.", file=sys.stderr)
    return 1 if excess else 0


def read_skipped(report: Path) -> Counter[str]:
    """The number of tests that were skipped, by reason."""
    reasons = (element.get("message", "") for element in ElementTree.parse(report).iter("skipped"))
    return Counter(re.sub(r"\s+", " ", reason).removeprefix("Skipped: ") for reason in reasons)


def read_allowances(path: Path) -> list[Allowance]:
    """Raises ValueError for a line that is no number and pattern."""
    allowances = []
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            num, pattern = line.split(maxsplit=1)
            allowances.append(Allowance(int(num), re.compile(pattern)))
    return allowances


def find_excess(skipped: Counter[str], allowances: list[Allowance]) -> list[str]:
    """A line for each allowance that is exceeded and each reason that has none."""
    num_by_allowance: Counter[Allowance] = Counter()
    excess = []
    for reason, num in sorted(skipped.items()):
        allowance = next((one for one in allowances if one.pattern.match(reason)), None)
        if allowance is None:
            excess.append(f"{num} for a reason that is not allowed, {reason!r}")
        else:
            num_by_allowance[allowance] += num
    for allowance, num in num_by_allowance.items():
        if num > allowance.max_num_tests:
            excess.append(
                f"{num} for {allowance.pattern.pattern!r}, which allows {allowance.max_num_tests}"
            )
    return excess


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
