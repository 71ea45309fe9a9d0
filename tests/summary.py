"""Add up a test run: `python tests/summary.py <folder>` prints where its time went and one closing line.

The folder holds JUnit files and what phases.py wrote. Exit code 1 when a test failed, or when there is
nothing to add up.
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

SHOWN = 25


def cases(report: Path) -> list[tuple[float, str, str]]:
    """The tests of a JUnit file: seconds with their fixtures, name, and `passed`, `failed` or `skipped`."""
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        tags = {child.tag for child in case}
        how = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        found.append((float(case.get("time", 0)), f"{case.get('classname')}: {case.get('name')}", how))
    return found


def sentence(counts: Counter[str]) -> str:
    """The line every reader of test runs knows."""
    return f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"


def main(folder: Path) -> int:
    """Print a line per report and the sum."""
    phases = folder / "phases.tsv"
    for line in phases.read_text().splitlines() if phases.exists() else []:
        name, _, seconds = line.partition("\t")
        print(f"{seconds:>6} s  {name}")
    reports = {path.stem: cases(path) for path in sorted(folder.glob("*.xml"))}
    if lab := reports.get("lab"):
        print("The longest tests of the lab:")
        for taken, name, _ in sorted(lab, reverse=True)[:SHOWN]:
            print(f"{taken:6.0f} s  {name}")
    total: Counter[str] = Counter()
    for name, report in reports.items():
        counts = Counter(how for *_, how in report)
        print(f"{name:>8}: {sentence(counts)}")
        total += counts
    print(sentence(total))
    return 0 if total["passed"] and not total["failed"] else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
