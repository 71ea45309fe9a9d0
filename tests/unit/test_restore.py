"""A restore from the controller: which node, which words for its program, and what people read."""

import json
from typing import Any

import pytest
from render import cluster, hosts_running
from tables import cases

from aicluster.backup.restore import failure, off_site, targets, words
from aicluster.errors import SiteError

NODES: Any = cluster("production")
HOSTS = [node["host"] for node in NODES]
PI52, *_ = hosts_running("postgres")


def host_of(name: str) -> str:
    return next(str(node["host"]) for node in NODES if node["name"] == name)


@cases(("hosts", "service", "name"), {
    "the one that keeps a service": (HOSTS, "postgres", ""),
    "the one the run is limited to": ([PI52], "all", ""),
    "a named one": (HOSTS, "all", "PI52"),
    "one named by its address": (HOSTS, "backup", PI52),
})  # fmt: skip
def test_a_restore_is_of_one_node(hosts, service, name):
    assert targets(NODES, hosts, service, name) == [PI52]


def test_a_list_is_of_every_node_that_keeps_something():
    assert targets(NODES, HOSTS, "") == hosts_running("backup")


@cases(("hosts", "service", "name", "message"), {
    "a service that is misspelt": (HOSTS, "postgers", "", "keeps; write postgres"),
    "a service that keeps nothing": (HOSTS, "redis", "", "keeps; write one of alertmanager, "),
    "a service of another node": (
        [host_of("AGX0")], "postgres", "", "'postgres': must be one that AGX0 keeps; it is kept on PI52"),
    "a service of several nodes": (HOSTS, "backup", "", "must be of one node; add --limit or -e node="),
    "a node that is misspelt": (HOSTS, "postgres", "PI53", "node 'PI53': must be a node of the site; "),
    "a node without backups": ([host_of("PI31")], "", "", "PI31: must run the service backup; name another"),
})  # fmt: skip
def test_what_cannot_be_meant_is_refused(hosts, service, name, message):
    with pytest.raises(SiteError) as refused:
        targets(NODES, hosts, service, name)
    assert message in str(refused.value)


def test_the_nodes_program_gets_what_was_asked_for_as_words_of_its_own():
    asked = {"path": "homes/a b", "bucket": "", "snapshot": "4f2a", "copy": "2", "safety": False}
    assert words("jupyterhub", asked) == [
        "jupyterhub", "--path=homes/a b", "--snapshot=4f2a", "--copy=2", "--no-safety-copy",
    ]  # fmt: skip


def test_a_node_is_handed_the_way_to_its_own_repository_off_site_if_there_is_one():
    given = json.loads(off_site("b2:bucket:lab/", {"B2_ACCOUNT_ID": "x"}, "PI52"))
    assert given == {"RESTIC_REPOSITORY": "b2:bucket:lab/PI52", "B2_ACCOUNT_ID": "x"}
    with pytest.raises(SiteError, match="must be a repository outside the site; name it as site_offsite"):
        off_site("", {}, "PI52")


@pytest.mark.parametrize(("code", "untouched"), [(1, False), (2, True), (75, True), (255, False)])
def test_a_refusal_says_that_nothing_was_changed(code, untouched):
    assert failure("PI52", code, "no").endswith("no; nothing was changed") == untouched
