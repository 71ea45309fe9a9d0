"""A node that lost its disk has everything back that people made there, after `site.yml` and one restore."""

import json
import shlex
import time
from concurrent.futures import ThreadPoolExecutor

import http_client
import pytest
import site_under_test as site
from copies import by_hand
from verified import verify

pytestmark = pytest.mark.full
[HUB], MONITORING = site.running("jupyterhub"), site.running("alertmanager")[0]
NODES = (HUB, MONITORING)
VOLUMES = "/var/lib/docker/volumes/aicluster_{}/_data"
# The last one is hidden, so that it is not moved to the object store.
FILES = {
    "jupyterhub_homes": "somebody/work/notes.ipynb",
    "comfyui_user": "default/workflows/kept.json",
    "comfyui_output": ".kept.png",
}
USERS = f"""python3 - <<'END'
import json, sqlite3
users = sqlite3.connect("file:{VOLUMES.format("jupyterhub_state")}/jupyterhub.sqlite?mode=ro", uri=True)
print(json.dumps(users.execute("select id, name, created from users order by id").fetchall()))
END
"""


def files() -> str:
    """Owner, mode, time and checksum of what people made on the node with notebooks and pictures."""
    folders = " ".join(VOLUMES.format(volume) for volume in FILES)
    told = "-printf '%p %m %U:%G %Ts ' -exec sha256sum {} ';'"
    return site.shell(HUB, f"find {folders} -type f -not -path '*/aicluster-verify/*' {told} | sort")


def users() -> list[str]:
    """Who has an account of the hub, and since when."""
    return list(json.loads(site.shell(HUB, USERS)))


def folders(secrets: dict[str, str]) -> set[str]:
    """The folders of Grafana."""
    login = f"admin:{secrets['grafana_admin_password']}"
    answer = http_client.get(f"{grafana()}/api/folders", login=login)
    assert answer.status == 200, answer.body
    return {str(one["title"]) for one in answer.json()}


def grafana() -> str:
    return f"http://{MONITORING.address}:{MONITORING.port('grafana', 'web')}"


def confirmed(playbook: str, node: site.Node, *words: str) -> site.Run:
    """Run a playbook that asks for the name of the site, for one node."""
    confirm = ("-e", f"confirm={site.variable(node, 'site_name')}")
    return site.run_playbook(f"playbooks/{playbook}.yml", "--limit", node.address, *confirm, *words)


def test_notebooks_pictures_and_dashboards_are_back_on_nodes_that_lost_everything(secrets, record_property):
    for volume, name in FILES.items():
        path = shlex.quote(f"{VOLUMES.format(volume)}/{name}")
        site.shell(HUB, f"mkdir -p $(dirname {path}) && head -c 2000000 /dev/urandom > {path}")
        site.shell(HUB, f"chmod 600 {path}; chown 200042:200042 {path}; touch -d '2 days ago' {path}")
    login = shlex.quote(f"admin:{secrets['grafana_admin_password']}")
    curl = f"curl -fsS -u {login} -H 'Content-Type: application/json' {grafana()}/api/folders"
    folder = shlex.quote(json.dumps({"uid": "kept", "title": "Kept"}))
    site.shell(MONITORING, f"{curl} -d {folder}")
    before = files(), users(), folders(secrets)
    assert "Kept" in before[2]
    code, report = by_hand()
    assert code == 0, report

    with ThreadPoolExecutor() as pool:
        for run in pool.map(lambda node: confirmed("cleanup", node, "-e", "keep_data=False"), NODES):
            assert run.code == 0, run.output
    began = time.monotonic()
    again = site.run_site("--limit", ",".join(node.address for node in NODES))
    assert again.code == 0, again.output
    record_property("seconds until the nodes were deployed again", round(time.monotonic() - began))
    assert (files(), users(), folders(secrets)) != before

    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        for run in pool.map(lambda node: confirmed("restore", node, "-e", "service=all"), NODES):
            assert run.code == 0, run.output
    record_property("seconds of the restores", round(time.monotonic() - began))
    assert (files(), users(), folders(secrets)) == before
    verdict = verify()
    assert verdict.ok, verdict.report["failures"]
    for volume, name in FILES.items():
        site.shell(HUB, f"rm -r {VOLUMES.format(volume)}/{name.partition('/')[0]}")
    site.shell(MONITORING, f"{curl}/kept -X DELETE")
