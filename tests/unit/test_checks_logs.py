"""What verify asks of exporter, shipper and log store, and how it names what is missing."""

import json
import os
from collections.abc import Sequence
from typing import Any

import pytest
from a_kit import ScriptedKit, check_of, site
from aicluster_verify import Broken

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


def test_an_exporter_that_measures_this_machine_and_reads_files_is_well():
    assert ask_exporter(METRICS) == "5 samples, nothing from hwmon"


@pytest.mark.parametrize(
    ("before", "after", "evidence"),
    [
        pytest.param(
            os.uname().nodename, "other", "measures another machine", id="another machine's metrics"
        ),
        pytest.param("aicluster_node_info{", "x{", "aicluster_node_info of PI41", id="our file is not read"),
        pytest.param('node="PI41"', 'node="PI52"', "aicluster_node_info of PI41", id="another node's file"),
        pytest.param("scrape_error 0", "scrape_error 1", "cannot be read", id="a broken file"),
        pytest.param("node_textfile_scrape_error 0\n", "", "cannot be read", id="files are not collected"),
    ],
)
def test_an_exporter_is_broken(before, after, evidence):
    with pytest.raises(Broken) as broken:
        ask_exporter(METRICS.replace(before, after))
    assert evidence in broken.value.evidence
    assert broken.value.next_command


def test_an_exporter_that_answers_with_an_error_is_broken():
    with pytest.raises(Broken, match="503"):
        ask_exporter("", 503)


# --- log_shipper ---


def test_a_shipper_says_since_when_it_has_not_failed():
    commands = {"systemctl show *": "ActiveEnterTimestamp=Mon 2026-11-23 10:00:00 UTC\n"}
    kit = ScriptedKit(site("PI41", {}), commands=commands)
    assert check_of("log_shipper").check(kit) == "sends without a failure since Mon 2026-11-23 10:00:00 UTC"


# --- the log stores ---


def in_victorialogs(lines: list[str], under: str = "") -> str:
    """Each stored under the node it names, or all under one."""
    return "".join(json.dumps({"node": under or line.split()[-1], "_msg": line}) + "\n" for line in lines)


def in_loki(lines: list[str], under: str = "") -> str:
    streams = [{"stream": {"node": under or line.split()[-1]}, "values": [["1", line]]} for line in lines]
    return json.dumps({"status": "success", "data": {"resultType": "streams", "result": streams}})


STORES: Any = [
    pytest.param("victorialogs", "/select/logsql/query?", in_victorialogs, id="victorialogs"),
    pytest.param("loki", "/loki/api/v1/query_range?", in_loki, id="loki"),
]
every_store = pytest.mark.parametrize(("service", "path", "stored"), STORES)


def ask_store(service: str, pages: Any, together: Sequence[str] = ("PI41", "AGX0", "NANO")) -> str:
    answers = {"GET " + path.rstrip("?"): page for path, page in pages.items()}
    kit = ScriptedKit(site("PI41", {service: {"api": 1234}}, CLUSTER), answers, together=together)
    said: str = check_of(service).check(kit)
    assert kit.run_id in kit.asked[0]
    return said


@every_store
def test_a_store_with_the_line_of_every_shipping_node_is_well(service, path, stored):
    lines = stored(["aicluster verify run-1 PI41", "aicluster verify run-1 AGX0"])
    assert ask_store(service, {path: (200, lines)}) == "a line of each of 2 nodes"


@every_store
@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        (["aicluster verify run-1 AGX0"], "PI41"),
        (["aicluster verify run-1 PI41"], "AGX0"),
        (["aicluster verify run-1 PI41", "aicluster verify run-0 AGX0"], "AGX0"),
        (["aicluster verify run-1 PI41", "aicluster verify run-1 AGX01"], "AGX0"),
    ],
    ids=[
        "its own node is missing",
        "another node is missing",
        "a line of an earlier run",
        "a node of a similar name",
    ],
)
def test_a_store_names_the_nodes_whose_lines_are_missing(service, path, stored, lines, missing):
    with pytest.raises(Broken) as broken:
        ask_store(service, {path: (200, stored(lines))})
    assert broken.value.evidence == f"no line of {missing} within 30 s"
    assert broken.value.next_command == f"on {missing}: systemctl status systemd-journal-upload"
    assert broken.value.because == [f"log_shipper on {missing}"]


@every_store
def test_a_line_that_is_stored_under_another_nodes_name_is_missing(service, path, stored):
    lines = stored(["aicluster verify run-1 PI41", "aicluster verify run-1 AGX0"], under="PI41")
    with pytest.raises(Broken, match="no line of AGX0 within 30 s"):
        ask_store(service, {path: (200, lines)})


@every_store
def test_a_store_without_the_line_of_anybody_blames_nobody_else(service, path, stored):
    with pytest.raises(Broken, match="no line of PI41, AGX0 within 30 s") as broken:
        ask_store(service, {path: (200, stored([]))})
    assert (broken.value.because, broken.value.next_command) == ([], "")


@pytest.mark.parametrize(("service", "path"), [store.values[:2] for store in STORES])
def test_a_store_that_answers_with_an_error_is_broken(service, path):
    with pytest.raises(Broken, match="422"):
        ask_store(service, {path: (422, "cannot parse query")})


@pytest.mark.parametrize("service", [store.values[0] for store in STORES])
def test_a_store_that_is_not_there_is_broken(service):
    with pytest.raises(Broken, match="refused"):
        ask_store(service, {})


@every_store
def test_a_node_that_was_not_asked_in_this_run_owes_no_line(service, path, stored):
    lines = stored(["aicluster verify run-1 PI41"])
    assert ask_store(service, {path: (200, lines)}, together=[]) == "a line of each of 1 nodes"
