"""How programs of ours hand metrics to node_exporter: a file that is replaced again and again."""

import os
import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, Tuple

# Where node_exporter looks without being told: roles/node_exporter/vars/main.yml. A file is named after its
# unit, with which the engine removes it.
FOLDER = "/var/lib/prometheus/node-exporter"
Sample = Tuple[str, Mapping[str, str], float]
# Name -> what a record calls its value, and its HELP.
Metrics = Mapping[str, Tuple[str, str]]
# Labels of a record, and the record.
Labelled = Tuple[Mapping[str, str], Mapping[str, Any]]
# What a label's value may not hold as it is.
ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def text(found: Iterable[Sample], meanings: Mapping[str, str]) -> str:
    """Return samples in Prometheus' text format, grouped by name; `meanings`: name -> its HELP."""
    grouped: Dict[str, List[str]] = {}
    for name, labels, value in found:
        inner = ",".join('%s="%s"' % (key, labels[key].translate(ESCAPED)) for key in sorted(labels))
        grouped.setdefault(name, []).append("%s%s %r" % (name, "{%s}" % inner if inner else "", value))
    lines: List[str] = []
    for name, rows in grouped.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += ["# HELP %s %s" % (name, meanings[name]), "# TYPE %s %s" % (name, kind), *rows]
    return "\n".join(lines) + "\n"


def write(path: str, content: str) -> None:
    """Replace a file in one step: node_exporter must never read half of it."""
    with open(path + ".new", "w", encoding="utf-8") as handle:
        handle.write(content)
        os.fchmod(handle.fileno(), 0o644)
    os.rename(path + ".new", path)


def publish(name: str, metrics: Metrics, records: Iterable[Labelled]) -> None:
    """Replace the metrics of a program that ends afterwards; a record has those whose value it has."""
    found = [
        (metric, labels, float(record[key]))
        for labels, record in records
        for metric, (key, _) in metrics.items()
        if key in record
    ]
    meanings = {metric: meaning for metric, (_, meaning) in metrics.items()}
    os.makedirs(FOLDER, exist_ok=True)
    write("%s/%s.prom" % (FOLDER, name), text(found, meanings))


def hand_out(name: str, interval_s: float, look: Callable[[], str]) -> None:
    """Look and write for ever."""
    os.makedirs(FOLDER, exist_ok=True)
    while True:
        write("%s/%s.prom" % (FOLDER, name), look())
        time.sleep(interval_s)
