"""Contracts of the layout: what makes `site.yml`, a tier's playbook and an ad hoc command see one truth."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import render
import tree
from programs import ansible
from tree import ROOT, load

from aicluster.site.nodes import TIERS

INVENTORIES = {"production": "inventory/production.yml", "lab": "inventory/lab/hosts.yml"}
inventories = pytest.mark.parametrize("inventory", INVENTORIES)


def variables_of(path: Path) -> dict[str, Any]:
    return {key: value for file in sorted(path.rglob("*.yml")) for key, value in (load(file) or {}).items()}


def test_site_yml_only_imports():
    known = {"name", "import_playbook", "tags", "vars"}
    others = {key for entry in load("site.yml") for key in entry} - known
    assert not others, f"site.yml holds {others}: a play there would raise root group_vars above the lab's"
    values = [entry["vars"] for entry in load("site.yml") if "vars" in entry]
    # What only this playbook knows: what comes after.
    allowed = [{"ollama_pull_later": True}, {"stack_tiers_follow": True}]
    assert all(value in allowed for value in values), "values live in the inventory"


@pytest.mark.parametrize("tier", TIERS)
def test_every_tier_has_a_playbook_for_its_group_with_its_tag(tier):
    [play] = load(f"playbooks/{tier.replace('_', '-')}.yml")
    # All nodes, so that a tier whose nodes all fail does not end the run of the others.
    assert play["hosts"] == "nodes"
    [task] = play["tasks"]
    assert (task["ansible.builtin.import_tasks"], task["vars"]) == ("tasks/tier.yml", {"__tier": tier})
    first = load("playbooks/tasks/tier.yml")[0]
    assert (first["ansible.builtin.meta"], first["when"]) == ("end_host", "__tier not in group_names")
    assert play["tags"] == [tier.replace("_", "-")]


@pytest.mark.parametrize("name", tree.named(".yml", below="playbooks"), ids=str)
def test_a_play_carries_no_values(name):
    for play in load(name):
        kept = {"vars", "vars_files", "vars_prompt"} & set(play)
        assert not kept, f"{name}: {kept}: values live in group_vars, host_vars and role defaults"


def test_every_variable_has_one_owner_among_the_files_of_group_vars_all():
    owners = Counter(key for file in (ROOT / "group_vars/all").glob("*.yml") for key in load(file) or {})
    assert not [key for key, count in owners.items() if count > 1]


def test_every_variable_of_the_lab_exists_elsewhere():
    known = set(variables_of(ROOT / "group_vars")) | set(variables_of(ROOT / "host_vars"))
    for role in tree.roles():
        if (ROOT / f"roles/{role}/defaults/main.yml").is_file():
            known |= set(load(f"roles/{role}/defaults/main.yml") or {})
    lab = variables_of(ROOT / "inventory/lab/group_vars") | variables_of(ROOT / "inventory/lab/host_vars")
    unknown = {key for key in lab if not key.startswith("ansible_")} - known
    assert not unknown, f"misspelt, or gone from the shared tree: {sorted(unknown)}"


def test_both_inventories_place_the_same_nodes_in_the_same_groups():
    def by_name(inventory: str, host_vars: str) -> dict[str, set[str]]:
        return {
            group: {load(f"{host_vars}/{host}/node.yml")["node_name"] for host in body["hosts"]}
            for group, body in load(INVENTORIES[inventory]).items()
            if group != "lab"
        }

    assert by_name("production", "host_vars") == by_name("lab", "inventory/lab/host_vars")


@inventories
def test_a_play_of_a_tier_gets_the_values_that_ansible_inventory_shows(inventory):
    sources = [f"--inventory={source}" for source in render.SOURCES[inventory]]
    shown = json.loads(ansible("ansible-inventory", *sources, "--list").stdout)["_meta"]["hostvars"]
    # Read as a run does: the executor makes the folder of the playbooks its base directory.
    site = render.site(inventory)
    assert set(shown) == {host.name for host in site.inventory.get_hosts("nodes")}
    for host, values in shown.items():
        played = site.variables.get_vars(host=site.inventory.get_host(host), include_hostvars=False)
        differing = {key for key, value in values.items() if played.get(key, "<unset>") != value}
        assert not differing, f"{host}: {sorted(differing)}"
