"""Add up the JUnit files of a test run: `python tests/summary.py <folder>` prints one closing line.

Exit code 1 when a test failed, or when there is nothing to add up.
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree


def count(report: str) -> Counter[str]:
    """Passed, failed and skipped test cases of one JUnit XML text."""
    totals: Counter[str] = Counter()
    for suite in ElementTree.fromstring(report).iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        totals.update(passed=int(suite.get("tests", 0)) - failed - skipped, failed=failed, skipped=skipped)
    return totals


def sentence(counts: Counter[str]) -> str:
    """The line every reader of test runs knows."""
    return f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"


def main(folder: Path) -> int:
    """Print a line per report and the sum."""
    total: Counter[str] = Counter()
    for path in sorted(folder.glob("*.xml")):
        counts = count(path.read_text())
        print(f"{path.stem:>8}: {sentence(counts)}")
        total += counts
    print(sentence(total))
    return 0 if total["passed"] and not total["failed"] else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
