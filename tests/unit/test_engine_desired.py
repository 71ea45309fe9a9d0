"""The desired state of a node: what its roles render and declare, put together."""

import pytest
from render import container

from aicluster.engine.desired import compose_project
from aicluster.engine.files import File
from aicluster.engine.rendering import template_sources
from aicluster.errors import SiteError


def test_an_older_engine_is_given_a_health_check_that_it_understands():
    nano, another = (
        container("ollama", host=host)["healthcheck"] for host in ("192.168.1.159", "192.168.1.154")
    )
    assert {**nano, "start_interval": "5s"} == another


def test_what_an_editor_leaves_in_a_template_folder_is_not_delivered(tmp_path):
    for name in ("kong.yml.j2", "kong.yml.j2~", "kong.yml.j2.orig", ".kong.yml.j2.swp", "kong.pyc"):
        (tmp_path / name).touch()
    assert template_sources(tmp_path) == [tmp_path / "kong.yml.j2"]


@pytest.mark.parametrize(("files", "message"), [
    pytest.param([], r"service kong: no template renders .*roles/kong/templates", id="none"),
    pytest.param([File("/opt/aicluster/kong/compose.yaml", b"services: [", "kong")],
        r"service kong: .*is not a compose file", id="one that is not YAML"),
])  # fmt: skip
def test_a_compose_file_that_cannot_be_read_is_refused_by_name(files, message):
    with pytest.raises(SiteError, match=message):
        compose_project(files, "kong")
