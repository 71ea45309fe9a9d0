"""What systemd-journal-upload is told: where the log store is, and never to give up."""

import configparser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import render

from aicluster.engine.files import rule_for

CONF = "/etc/systemd/journal-upload.conf.d/90-aicluster.conf"
DROP_IN = "/etc/systemd/system/systemd-journal-upload.service.d/10-keep-trying.conf"
NODES = [
    (inventory, host)
    for inventory in sorted(render.SOURCES)
    for host in render.hosts_running("log_shipper", inventory)
]
NANO = "192.168.1.159"
every_node = pytest.mark.parametrize(("inventory", "host"), NODES)


def ini(path: str, **where: Any) -> dict[str, dict[str, str]]:
    parsed = configparser.ConfigParser(delimiters="=", interpolation=None)
    parsed.read_string(render.render_role("log_shipper", **where)[path])
    return {name: dict(parsed[name]) for name in parsed.sections()}


def state(host: str, **overrides: Any) -> dict[str, Any]:
    rendering = render.renderer("production", host, overrides)
    found: dict[str, Any] = rendering.state("log_shipper", rendering.variables("log_shipper", {}))
    return found


def test_every_node_of_both_inventories_ships_its_journal():
    for inventory in render.SOURCES:
        assert len(render.hosts_running("log_shipper", inventory)) == len(render.cluster(inventory))


@every_node
def test_it_ships_to_where_the_log_store_is_placed(inventory, host):
    [store] = [node for node in render.cluster(inventory) if "victorialogs" in node["services"]]
    assert store["tier"] == "monitoring"
    [name] = [node["name"] for node in render.cluster(inventory) if node["host"] == host]
    url = f"http://{store['address']}:9428/insert/journald/upload?extra_fields=node={name}&then="
    assert ini(CONF, inventory=inventory, host=host) == {"Upload": {"url": url}}


def test_what_journal_upload_adds_to_its_address_changes_neither_path_nor_name():
    found = urlsplit(ini(CONF, host=NANO)["Upload"]["url"] + "/upload")
    assert found.path == "/insert/journald/upload"
    assert parse_qs(found.query)["extra_fields"] == ["node=NANO"]


@every_node
def test_it_is_started_again_however_long_the_store_is_away(inventory, host):
    found = ini(DROP_IN, inventory=inventory, host=host)
    assert found["Unit"] == {"startlimitintervalsec": "0"}
    assert found["Service"] == {"restart": "on-failure", "restartsec": "15", "restartsteps": "0"}


def test_a_store_that_is_away_does_not_make_the_node_differ():
    [unit] = state("192.168.1.147")["units"]
    assert unit == {"name": "systemd-journal-upload", "enabled": True, "waits": True}


def test_a_moved_store_restarts_it():
    rules = state("192.168.1.147")["files"]
    for path in (CONF, DROP_IN):
        assert rule_for(path, rules) == {"restart": "systemd-journal-upload"}


def test_packages_are_installed_where_the_toolkit_may():
    assert state("192.168.1.147")["packages"] == ["systemd-journal-remote"]
    assert state(NANO)["packages"] == []
