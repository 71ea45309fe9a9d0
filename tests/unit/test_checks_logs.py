"""What verify asks of exporter, shipper and log store, and how it names what is missing."""

import json
import os
from collections.abc import Sequence

import pytest
from a_kit import ScriptedKit, check_of, site
from aicluster_verify import CheckError

CLUSTER = [
    {"name": "PI41", "services": {"log_shipper": {"ports": {}}, "victorialogs": {"ports": {}}}},
    {"name": "AGX0", "services": {"log_shipper": {"ports": {}}}},
    {"name": "GONE", "services": {}},
]


# --- node_exporter ---

METRICS = (
    "# TYPE node_uname_info gauge\n"
    f'node_uname_info{{machine="aarch64",nodename="{os.uname().nodename}"}} 1\n'
    'aicluster_node_info{board="Raspberry Pi 4",node="PI41",tier="monitoring"} 1\n'
    "node_textfile_scrape_error 0\n"
    'node_scrape_collector_success{collector="hwmon"} 0\n'
    'node_scrape_collector_success{collector="cpu"} 1\n'
)


def ask_exporter(metrics: str, status: int = 200) -> str:
    page = {"GET /metrics": (status, metrics)}
    kit = ScriptedKit(site("PI41", {"node_exporter": {"metrics": 9100}}), page)
    return str(check_of("node_exporter").check(kit))


@pytest.mark.parametrize(("before", "after", "evidence"), [
    pytest.param(os.uname().nodename, "other", "measures another machine", id="another machine's metrics"),
    pytest.param("aicluster_node_info{", "x{", "aicluster_node_info of PI41", id="our file is not read"),
    pytest.param("scrape_error 0", "scrape_error 1", "cannot be read", id="a broken file"),
])  # fmt: skip
def test_an_exporter_has_failed(before, after, evidence):
    with pytest.raises(CheckError) as failure:
        ask_exporter(METRICS.replace(before, after))
    assert evidence in failure.value.evidence
    assert failure.value.next_command


# --- victorialogs ---

NODES = ["PI41", "AGX0"]


def line(node: str, run: int = 1) -> str:
    return f"aicluster verify run-{run} {node}"


def stored(lines: Sequence[str], under: str = "") -> str:
    """What the store answers: each line under the node it names, or all under one."""
    return "".join(json.dumps({"node": under or one.split()[-1], "_msg": one}) + "\n" for one in lines)


def ask_store(page: str | None, status: int = 200, together: Sequence[str] = (*NODES, "NANO")) -> str:
    answers = {} if page is None else {"GET /select/logsql/query": (status, page)}
    kit = ScriptedKit(site("PI41", {"victorialogs": {"api": 1234}}, CLUSTER), answers, together=together)
    said: str = check_of("victorialogs").check(kit)
    assert kit.run_id in kit.asked[0]
    return said


@pytest.mark.parametrize(("lines", "missing"), [
    pytest.param([line("PI41")], "AGX0", id="another node is missing"),
    pytest.param([line("PI41"), line("AGX0", run=0)], "AGX0", id="a line of an earlier run"),
    pytest.param([line("PI41"), line("AGX01")], "AGX0", id="a node of a similar name"),
])  # fmt: skip
def test_a_store_names_the_nodes_whose_lines_are_missing(lines, missing):
    with pytest.raises(CheckError) as failure:
        ask_store(stored(lines))
    assert failure.value.evidence == f"no line of {missing} within 30 s"
    assert failure.value.next_command == f"on {missing}: systemctl status systemd-journal-upload"
    assert failure.value.caused_by == [f"log_shipper on {missing}"]


def test_a_store_without_the_line_of_anybody_blames_nobody_else():
    with pytest.raises(CheckError, match="no line of PI41, AGX0 within 30 s") as failure:
        ask_store(stored([]))
    assert (failure.value.caused_by, failure.value.next_command) == ([], "")


def test_a_node_that_was_not_asked_in_this_run_owes_no_line():
    assert ask_store(stored([line("PI41")]), together=[]) == "a line of each of 1 nodes"
