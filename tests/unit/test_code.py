"""Contracts of the Python in this project: filters are documented, what runs on nodes is old Python."""

import ast
import json
import sys
from pathlib import Path

import adapters
import pytest
import tree
from ansible.errors import AnsibleFilterError
from ansible.plugins.loader import filter_loader
from programs import ansible
from render import ansible_plugins
from tree import ROOT

FILTERS = adapters.FilterModule().filters()
STANDARD_LIBRARY = set(sys.stdlib_module_names)


def test_ansible_finds_every_filter_and_its_sidecar():
    assert {name.stem for name in tree.named(".yml", below="filter_plugins")} == set(FILTERS)
    ansible_plugins()
    assert all(filter_loader.get(name).j2_function.__name__ == name for name in FILTERS)
    shown = ansible("ansible-doc", "--type", "filter", "--json", *FILTERS)
    assert shown.stderr == ""
    for name, said in json.loads(shown.stdout).items():
        assert said["doc"]["name"] == name and said["doc"]["description"]
        assert said["examples"].strip(), "an example one can paste"


def test_an_error_of_the_package_is_one_of_a_filter_word_for_word():
    with pytest.raises(AnsibleFilterError, match=r"^service_endpoints: port web of kong on N0: is not among"):
        FILTERS["service_endpoints"]([{"name": "N0", "services": {"kong": {}}}], "kong", "web")


def imports_of(name: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(name.parts[0] if node.level else node.module or "")
    return found


NODE_CODE = [*tree.named(".py", below="library"), *tree.named(".py", below="module_utils")]
CHECKS = [name for name in tree.named(".py", below="roles") if name.parent.name == "checks"]
DRILLS = tree.named("drill.py", "drill_kit.py", below="roles")


@pytest.mark.parametrize("name", [*NODE_CODE, *CHECKS, *DRILLS], ids=str)
def test_what_runs_on_nodes_is_python_3_6(name):
    ast.parse((ROOT / name).read_text(), filename=str(name), feature_version=(3, 6))


@pytest.mark.parametrize("name", NODE_CODE, ids=str)
def test_what_runs_on_nodes_needs_the_standard_library_only(name):
    others = {module for module in imports_of(name) if module.split(".")[0] not in STANDARD_LIBRARY}
    ours = ("ansible.module_utils", "aicluster_node", "module_utils")
    assert {module for module in others if not module.startswith(ours)} == set()
