"""A service is its folder and one word in a placement list: what it adds elsewhere comes and goes with it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from project_copy import copy_of_the_project
from tree import ROOT

NAME, PLACEMENT, SOME_LINE = "made_up", "group_vars/secondary_ai/services.yml", "  - comfyui\n"
FOLDER = {
    "meta/service.yml": """
        summary: a service of this test
        image: made-up:1.0
        architectures: [arm64, amd64]
        memory_mb: 16
        disk_gb: 1
        ports: {web: {port: 8777, container: 80, from: [gateway, monitoring]}}
        health: {test: [CMD, ok], interval_s: 10, timeout_s: 3, retries: 3, start_s: 10}
        secrets: [made_up_db_password, made_up_reader_password]
        metrics: {port: web, path: /metrics}
        probe: {port: web, path: /}
        dashboard: {port: web, path: /made-up/}
        ingress: {at: node, login: own}
        databases: [made_up]
        database_roles: {made_up_reader: {secret: made_up_reader_password}}
        backup: [{volume: made_up_data}]
        drill: files/drill.py
        """,
    "meta/argument_specs.yml": "argument_specs: {main: {short_description: a service of this test}}",
    "files/drill.py": "made up",
    "files/postgres.sql": "SELECT 'GRANT made_up TO made_up_reader;' WHERE true;",
    "templates/opt/aicluster/made_up/compose.yaml.j2": """
        services:
          made_up: {{ stack_service | to_json }}
        volumes:
          made_up_data:
        """,
}
# What other services of the site are given, and what the preflight says of the whole.
ASK = """
import json, render, site_description
nodes = {node["name"]: node["host"] for node in render.cluster("production")}
asked = [("nginx", "ORIN0"), ("prometheus", "PI51"), ("postgres", "PI52"), ("backup_store", "AGX0")]
files = {role: render.render_role(role, host=nodes[name]) for role, name in asked}
print(json.dumps([files, site_description.errors_of(site_description.production())]))
"""
WHERE = {
    "nginx": ("conf/locations/ingress.conf", "location /made-up/ {"),
    "the portal": ("conf/html/index.html", 'data-service="made_up"'),
    "the scrape job": ("prometheus/prometheus.yml", "job_name: made_up\n"),
    "the probe": ("prometheus/prometheus.yml", ":8777/\n"),
    "the database": ("postgres/provision", "\ndatabase made_up\n"),
    "the role": ("postgres/provision", "\nrole made_up_reader\n"),
    "what the role may do": ("postgres/provision", "GRANT made_up TO made_up_reader;"),
    "the drill": ("backup_store/drills/made_up.py", "made up"),
    "the password": ("postgres/secrets/roles", "made_up made-up-made-up-db-password\n"),
}


def asked_in(project: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Files of roles, and the preflight's mistakes, as the project in a folder has them."""
    paths = [project, *map(Path, sys.path)]
    here = [project / path.relative_to(ROOT) for path in paths if path.is_relative_to(ROOT)]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(project / "ansible.cfg"),
        "PYTHONPATH": os.pathsep.join(map(str, [project, *here])),
    }
    program = [sys.executable, "-c", ASK]
    said = subprocess.run(program, cwd=project, env=environment, stdout=subprocess.PIPE, check=True).stdout
    files, errors = json.loads(said)
    return files, errors


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The site with the service, the mistakes in it, and the site without it."""
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    placement = project / PLACEMENT
    listed = placement.read_text()
    for name, text in FOLDER.items():
        path = project / "roles" / NAME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line[8:] for line in text.split("\n")) if "\n" in text else text + "\n")
    placement.write_text(listed.replace(SOME_LINE, f"{SOME_LINE}  - {NAME}\n"))
    there, mistakes = asked_in(project)
    shutil.rmtree(project / "roles" / NAME)
    placement.write_text(listed)
    gone, _ = asked_in(project)
    return there, mistakes, gone


def test_a_folder_and_a_line_of_a_placement_list_make_a_sound_service(told):
    assert told[1] == []


@pytest.mark.parametrize("what", WHERE)
def test_what_a_service_declares_is_there(told, what):
    name, text = WHERE[what]
    files = {path: content for role in told[0].values() for path, content in role.items()}
    [found] = [content for path, content in files.items() if path.endswith(name)]
    assert text in found


def test_a_service_that_is_removed_leaves_nothing(told):
    *_, gone = told
    assert not [path for files in gone.values() for path, text in files.items() if "made_up" in text]
