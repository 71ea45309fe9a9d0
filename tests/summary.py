"""Add up a test run: `python tests/summary.py <folder>` prints where its time went and one closing line.

The folder holds JUnit files and what phases.py wrote. Exit code 1 when a test failed, or when there is
nothing to add up.
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

SHOWN = 25


def count(report: str) -> Counter[str]:
    """Passed, failed and skipped test cases of one JUnit XML text."""
    totals: Counter[str] = Counter()
    for suite in ElementTree.fromstring(report).iter("testsuite"):
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        totals.update(passed=int(suite.get("tests", 0)) - failed - skipped, failed=failed, skipped=skipped)
    return totals


def slowest(report: str, number: int) -> list[tuple[float, str]]:
    """The tests of one JUnit XML text that took longest, with their fixtures: seconds and name."""
    cases = ElementTree.fromstring(report).iter("testcase")
    taken = [(float(case.get("time", 0)), f"{case.get('classname')}: {case.get('name')}") for case in cases]
    return sorted(taken, reverse=True)[:number]


def sentence(counts: Counter[str]) -> str:
    """The line every reader of test runs knows."""
    return f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"


def main(folder: Path) -> int:
    """Print a line per report and the sum."""
    phases = folder / "phases.tsv"
    for line in phases.read_text().splitlines() if phases.exists() else []:
        name, _, seconds = line.partition("\t")
        print(f"{seconds:>6} s  {name}")
    if (lab := folder / "lab.xml").exists():
        print("The longest tests of the lab:")
        for taken, name in slowest(lab.read_text(), SHOWN):
            print(f"{taken:6.0f} s  {name}")
    total: Counter[str] = Counter()
    for path in sorted(folder.glob("*.xml")):
        counts = count(path.read_text())
        print(f"{path.stem:>8}: {sentence(counts)}")
        total += counts
    print(sentence(total))
    return 0 if total["passed"] and not total["failed"] else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
