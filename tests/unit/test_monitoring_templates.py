"""What both Prometheus, the log store, Alertmanager and node_exporter are told; routes: tests/monitoring."""

import re
import shlex
from typing import Any

import pytest
import render
import yaml

from aicluster.engine.files import File

BIG, SMALL = "192.168.1.147", "192.168.1.204"


def options(service: str, host: str) -> dict[str, str]:
    command = render.container(service, host=host)["command"]
    return dict(option.split("=", 1) for option in command)


def entry(service: str, host: str) -> dict[str, Any]:
    [node] = [node for node in render.cluster("production") if node["host"] == host]
    return dict(node["services"][service])


@pytest.mark.parametrize(("service", "host", "option"), [
    ("prometheus", BIG, "--storage.tsdb.retention.size"),
    ("prometheus", SMALL, "--storage.tsdb.retention.size"),
    ("victorialogs", SMALL, "-retention.maxDiskSpaceUsageBytes"),
])  # fmt: skip
def test_what_is_kept_leaves_a_fifth_of_the_disk(service, host, option):
    # Of Prometheus, too, the one of 1024 * 1024 bytes.
    size = re.fullmatch(r"(\d+)Mi?B", options(service, host)[option])
    assert size and int(size[1]) <= 0.8 * 1024 * entry(service, host)["disk_gb"]


CONF = "/opt/aicluster/alertmanager/"
SECRET_URL = "https://hooks.invalid/T0KEN"


def rendered(name: str, url: str) -> tuple[dict[str, Any], list[File]]:
    """A receiver and all files, where this is its URL."""
    files = render.files_of("alertmanager", overrides={f"alertmanager_{name}_url": url})
    [text] = [file.content for file in files if file.path == CONF + "alertmanager.yml"]
    receivers = {one["name"]: one for one in yaml.safe_load(text)["receivers"]}
    return receivers[name], files


@pytest.mark.parametrize("name", ["page", "default", "deadman"])
def test_a_url_is_in_a_secret_file_and_nowhere_else_and_without_one_nobody_is_told(name):
    receiver, files = rendered(name, "")
    assert receiver == {"name": name}
    assert CONF + f"secrets/{name}_url" not in [file.path for file in files]
    receiver, files = rendered(name, SECRET_URL)
    assert receiver["webhook_configs"] == [{"url_file": f"/etc/alertmanager/secrets/{name}_url"}]
    [secret] = [file for file in files if SECRET_URL in file.content.decode()]
    assert secret.path == CONF + f"secrets/{name}_url"
    assert (secret.content.decode().strip(), secret.mode, secret.uid) == (SECRET_URL, "0400", 65534)


FLAGS = "/etc/default/prometheus-node-exporter"
NODES = [
    (inventory, host)
    for inventory in sorted(render.SOURCES)
    for host in render.hosts_running("node_exporter", inventory)
]


def flags(**where: Any) -> list[str]:
    """As systemd reads them: quotes and backslashes of the file first, then of $ARGS on the command line."""
    text = render.render_role("node_exporter", **where)[FLAGS]
    [line] = [line for line in text.splitlines() if line.startswith("ARGS=")]
    [value] = shlex.split(line.removeprefix("ARGS="))
    return value.split(" ")


@pytest.mark.parametrize(("inventory", "host"), NODES)
def test_an_orin_is_not_asked_for_thermal_zones_which_would_hang_it(inventory, host):
    [board] = [node["board"] for node in render.cluster(inventory) if node["host"] == host]
    orin = "Orin" in board
    assert ("--collector.thermal_zone" in flags(inventory=inventory, host=host)) is not orin
