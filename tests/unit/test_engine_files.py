"""Files of the desired state: which there are, their digests, and what leaves the controller of them."""

from dataclasses import replace

import pytest
from render import container

from aicluster.engine.desired import compose_project
from aicluster.engine.files import File, seal
from aicluster.engine.rendering import template_sources
from aicluster.engine.shown import file_diffs, masked
from aicluster.errors import SiteError

SECRET = File("/opt/aicluster/kong/secrets/kong.yml", b"hunter2", "kong", "0400", 1001, 1001)
COMPOSE = File("/opt/aicluster/kong/compose.yaml", b"label: @stack-digest@", "kong")


@pytest.mark.parametrize("change", ["reload", "none"])
def test_a_file_that_a_running_container_reads_again_is_no_part_of_what_recreates_it(change):
    one, other = (replace(SECRET, content=content, change=change) for content in (b"a", b"b"))
    assert seal([COMPOSE, one], "kong")[1] == seal([COMPOSE, other], "kong")[1]


def test_a_secret_may_be_any_text():
    [sealed], _ = seal([replace(SECRET, content=b"@stack-digest@")], "kong")
    assert sealed.content == b"@stack-digest@"


def test_a_file_can_say_which_files_were_loaded_together_with_it():
    says = File("/opt/aicluster/kong/says", b"@stack-reload-digest@", "kong", change="reload")
    loaded = {
        seal([says, replace(SECRET, content=content, change=change)], "kong")[0][0].content
        for content in (b"a", b"b")
        for change in ("reload", "none")
    }
    assert len(loaded) == 3, "one for each content that is loaded, and one for both that are not"


@pytest.mark.parametrize(("item", "said"), [
    pytest.param({"path": SECRET.path, "reason": "content", "before": ""}, "content changes and is not shown",
        id="a secret"),
    pytest.param({"path": "/etc/a", "reason": "content", "before": None}, "content changes and is not shown",
        id="content too long to be shown"),
    pytest.param({"path": "/etc/a", "reason": "owner or mode 0666 0:0", "before": None},
        "owner or mode 0666 0:0 -> 0644 0:0", id="a mode"),
])  # fmt: skip
def test_a_diff_without_text_says_what_changes(item, said):
    shown = file_diffs([File("/etc/a", b"x", "base"), SECRET], [item], ["/etc/old"])
    assert [diff["prepared"] for diff in shown] == ["/etc/old: removed\n", f"{item['path']}: {said}\n"]


def test_what_a_checker_quotes_of_a_secret_is_not_shown():
    secrets = {"a": "hunter", "b": "hunter-and-more", "c": "", "d": 5432}
    said = masked("key hunter-and-more, hunter, port 5432", secrets)
    assert said == "key ********, ********, port ********"


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
