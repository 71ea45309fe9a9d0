"""Contracts of the layout: what makes all playbooks and ad hoc commands see one truth."""

import json
from collections import Counter

import pytest
import render
from programs import ansible
from tree import ROOT, load

INVENTORIES = {"production": "inventory/production.yml", "lab": "inventory/lab/hosts.yml"}


def test_every_variable_has_one_owner_among_the_files_of_group_vars_all():
    owners = Counter(key for file in (ROOT / "group_vars/all").glob("*.yml") for key in load(file) or {})
    assert not [key for key, count in owners.items() if count > 1]


def test_both_inventories_place_the_same_nodes_in_the_same_groups():
    def by_name(inventory: str, host_vars: str) -> dict[str, set[str]]:
        return {
            group: {load(f"{host_vars}/{host}/node.yml")["node_name"] for host in body["hosts"]}
            for group, body in load(INVENTORIES[inventory]).items()
            if group != "lab"
        }

    assert by_name("production", "host_vars") == by_name("lab", "inventory/lab/host_vars")


@pytest.mark.parametrize("inventory", INVENTORIES)
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
