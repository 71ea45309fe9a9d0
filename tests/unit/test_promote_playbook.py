"""playbooks/promote.yml on nodes whose Docker is made up: what is done, in which order, and what is not."""

import os
import sys
from pathlib import Path

import pytest
from programs import ansible, script
from render import SOURCES, cluster

DOCKER = """
case "$*" in
  *state) cat {folder}/state;;
  *\\ ps\\ *) echo a-container;;
  *) echo "$*" | sed 's/.*aicluster //; s/exec -T postgres //; s/psql.*pg_prom.*/promotes/' >> {folder}/log;;
esac"""
STOP = ["/opt/aicluster/server fence AGX0 was promoted by playbooks/promote.yml", "stop postgres"]
COMMAND = ("ansible-playbook", "playbooks/promote.yml", "--tags", "promote", "--skip-tags", "always")


@pytest.mark.parametrize(("state", "done"), [
    pytest.param('{"recovery": true, "streaming": 1}', [*STOP, "promotes"], id="a standby"),
    pytest.param('{"recovery": false, "streaming": 0}', STOP, id="one that is promoted already"),
    pytest.param('{"doing": "copies PI52: 40 %"}', None, id="one that is not complete"),
])  # fmt: skip
def test_the_old_primary_is_stopped_first(tmp_path: Path, state: str, done: list[str] | None):
    (tmp_path / "state").write_text(state)
    script(tmp_path / "docker", DOCKER.format(folder=tmp_path))
    local = f"ansible_connection=local ansible_become=false ansible_python_interpreter={sys.executable}"
    hosts, fact = tmp_path / "hosts.ini", tmp_path / "postgres.yml"
    fact.write_text("postgres_max_connections: 90\npostgres_primary: PI52\n")
    hosts.write_text("".join(f"{node['host']} {local}\n" for node in cluster("production")))
    sources = [f"--inventory={source}" for source in (*SOURCES["production"], hosts)]
    words = f"node=AGX0 confirm=aicluster site_primary_file={fact}"
    # The deployment that follows is that of site.yml.
    ran = ansible(*COMMAND, *sources, "-e", words, PATH=f"{tmp_path}:{os.environ['PATH']}")
    if done is None:
        said = " ".join(ran.stdout.split())
        assert "AGX0: has no complete database: copies PI52: 40 %. Nothing was changed." in said
        assert (ran.returncode, "AGX0" in fact.read_text(), (tmp_path / "log").exists()) == (2, False, False)
    else:
        assert ran.returncode == 0, ran.stdout
        assert (tmp_path / "log").read_text().splitlines() == done
        assert fact.read_text() == "postgres_max_connections: 90\npostgres_primary: AGX0\n"
