"""playbooks/promote.yml on nodes whose Docker is made up: what is done, in which order, and what is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from render import SOURCES, cluster
from tree import ROOT

DOCKER = """#!/bin/sh
case "$*" in
  *state) cat {folder}/state;;
  *\\ ps\\ *) echo a-container;;
  *) echo "$*" | sed 's/.*aicluster //; s/exec -T postgres //; s/psql.*pg_prom.*/promotes/' >> {folder}/log;;
esac
"""
STOP = ["/opt/aicluster/server fence AGX0 was promoted by playbooks/promote.yml", "stop postgres"]
COMMAND = ("ansible-playbook", "playbooks/promote.yml", "--tags", "promote", "--skip-tags", "always")


@pytest.mark.parametrize(("state", "done"), [
    pytest.param('{"recovery": true, "streaming": 1}', [*STOP, "promotes"], id="a standby"),
    pytest.param('{"recovery": false, "streaming": 0}', STOP, id="one that is promoted already"),
    pytest.param('{"doing": "copies PI52: 40 %"}', None, id="one that is not complete"),
])  # fmt: skip
def test_the_old_primary_is_stopped_before_the_standby_is_promoted(
    tmp_path: Path, state: str, done: list[str] | None
):
    (tmp_path / "state").write_text(state)
    (tmp_path / "docker").write_text(DOCKER.format(folder=tmp_path))
    (tmp_path / "docker").chmod(0o755)
    local = f"ansible_connection=local ansible_become=false ansible_python_interpreter={sys.executable}"
    (tmp_path / "hosts.ini").write_text(
        "".join(f"{node['host']} {local}\n" for node in cluster("production"))
    )
    fact = tmp_path / "postgres.yml"
    words = ["node=AGX0", "confirm=aicluster", f"site_primary_file={fact}"]
    sources = (*SOURCES["production"], tmp_path / "hosts.ini")
    # The deployment that follows is that of site.yml.
    ran = subprocess.run(
        [
            *COMMAND,
            *(word for source in sources for word in ("-i", str(source))),
            *(word for value in words for word in ("-e", value)),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    if done is None:
        said = " ".join(ran.stdout.split())
        assert "AGX0: has no complete database: copies PI52: 40 %. Nothing was changed." in said
        assert (ran.returncode, fact.exists(), (tmp_path / "log").exists()) == (2, False, False)
    else:
        assert ran.returncode == 0, ran.stdout
        assert (tmp_path / "log").read_text().splitlines() == done
        assert "postgres_primary: AGX0\n" in fact.read_text()
