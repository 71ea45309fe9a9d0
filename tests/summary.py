"""Add up a test run: `python tests/summary.py <folder>` prints where its time went and one closing line.

The folder holds JUnit files and what phases.py wrote. Exit code 1 when a test failed, or when there is
nothing to add up.
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree


def main(folder: Path) -> int:
    """Print a line per phase and report, and the sum."""
    phases = folder / "phases.tsv"
    for line in phases.read_text().splitlines() if phases.exists() else []:
        name, _, seconds = line.partition("\t")
        print(f"{seconds:>6} s  {name}")
    total: Counter[str] = Counter()
    for report in sorted(folder.glob("*.xml")):
        tags = [{child.tag for child in case} for case in ElementTree.parse(report).iter("testcase")]
        failed = sum(bool(found & {"failure", "error"}) for found in tags)
        skipped = sum("skipped" in found for found in tags)
        counts = {"passed": len(tags) - failed - skipped, "failed": failed, "skipped": skipped}
        total.update(counts)
        print(f"{report.stem:>8}: {', '.join(f'{count} {how}' for how, count in counts.items())}")
    # The line every reader of test runs knows.
    print(", ".join(f"{total[how]} {how}" for how in ("passed", "failed", "skipped")))
    return 0 if total["passed"] and not total["failed"] else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
