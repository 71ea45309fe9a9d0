"""A node that lost its disk has everything back that people made there, after `site.yml` and one restore."""

import shlex
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import site_under_test as site
from copies import back_up
from verified import all_is_healthy

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
# Database -> what is asked of it, and its node.
ACCOUNTS = {
    "jupyterhub_state/_data/jupyterhub.sqlite": ("select id, name, created from users", HUB),
    "grafana_data/_data/grafana.db": ('select login, password from "user"', MONITORING),
}


def files() -> str:
    """Owner, mode, time and checksum of what people made on the node with notebooks and pictures."""
    folders = " ".join(VOLUMES.format(volume) for volume in FILES)
    told = "-printf '%p %m %U:%G %Ts ' -exec sha256sum {} ';'"
    return site.shell(HUB, f"find {folders} -type f -not -path '*/aicluster-verify/*' {told} | sort")


def sqlite(node: site.Node, file: str, statement: str) -> str:
    """The rows that a statement yields in a database of a volume."""
    path = f"/var/lib/docker/volumes/aicluster_{file}"
    program = (
        f"import sqlite3; database = sqlite3.connect({path!r}); "
        f"print(database.execute({statement!r}).fetchall()); database.commit()"
    )
    return site.shell(node, f"python3 -c {shlex.quote(program)}")


def accounts() -> list[str]:
    """Who has an account of the hub, and of Grafana."""
    return [sqlite(node, file, statement) for file, (statement, node) in ACCOUNTS.items()]


def on_both(playbook: str, words: str) -> None:
    """Run a playbook that asks for the name of the site for either node, at the same time."""

    def run(node: site.Node) -> site.Run:
        return site.run_confirmed(f"playbooks/{playbook}.yml", "--limit", node.address, "-e", words)

    with ThreadPoolExecutor() as pool:
        for done in pool.map(run, NODES):
            done.succeeded()


def test_notebooks_pictures_and_dashboards_are_back_on_nodes_that_lost_everything(record_property):
    for volume, name in FILES.items():
        path = shlex.quote(f"{VOLUMES.format(volume)}/{name}")
        site.shell(HUB, f"mkdir -p $(dirname {path}) && head -c 2000000 /dev/urandom > {path}")
        site.shell(HUB, f"chmod 600 {path}; chown 200042:200042 {path}; touch -d '2 days ago' {path}")
    *_, database = ACCOUNTS
    sqlite(MONITORING, database, "insert into \"user\" (login, password) values ('kept', 'x')")
    before = files(), accounts()
    assert "kept" in before[1][1]
    back_up()

    on_both("cleanup", "keep_data=False")
    began = time.monotonic()
    site.run_site("--limit", ",".join(node.address for node in NODES)).succeeded()
    record_property("seconds until the nodes were deployed again", round(time.monotonic() - began))
    assert (files(), accounts()) != before

    began = time.monotonic()
    on_both("restore", "service=all")
    record_property("seconds of the restores", round(time.monotonic() - began))
    assert (files(), accounts()) == before
    all_is_healthy()
    sqlite(MONITORING, database, "delete from \"user\" where login = 'kept'")
