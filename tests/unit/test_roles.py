"""Contracts of roles and services: one anatomy, a spec that does not lie, no dishonest task."""

import re
from typing import Any

import pytest
import tree
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from tree import ROOT, load

ROLES = tree.roles()
SERVICES = sorted(tree.catalogue())
OF_ROLES = [name for name in tree.named(".yml", below="roles") if name.parts[2] in {"tasks", "handlers"}]
TASK_FILES = [*tree.named(".yml", below="playbooks"), *OF_ROLES]
every_role = pytest.mark.parametrize("role", ROLES)
every_service = pytest.mark.parametrize("service", SERVICES)


def values(role: str, kind: str) -> dict[str, Any]:
    path = ROOT / f"roles/{role}/{kind}/main.yml"
    return (load(path) or {}) if path.is_file() else {}


def defaults(role: str) -> dict[str, Any]:
    return values(role, "defaults")


def options(role: str) -> dict[str, Any]:
    return load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"].get("options") or {}


@every_role
def test_the_spec_describes_every_variable_and_has_the_types_of_the_defaults_but_not_their_values(role):
    spec = options(role)
    assert {name for name, option in spec.items() if not option.get("required")} == set(defaults(role))
    assert not [name for name, option in spec.items() if "default" in option or not option.get("description")]
    given = {name: value for name, value in defaults(role).items() if "{{" not in str(value)}
    found = ArgumentSpecValidator({name: spec[name] for name in given}).validate(given)
    assert found.error_messages == []


@every_role
def test_true_and_false_may_be_texts_as_on_the_command_line(role):
    flags = [name for name, option in options(role).items() if option["type"] == "bool"]
    files = [path for path in (ROOT / "roles" / role).glob("[tv]*/**/*") if path.suffix in (".j2", ".yml")]
    text = "".join(path.read_text() for path in files)
    assert not [flag for flag in flags if re.search(rf"\b{flag}\b(?! \| bool)", text)]


@every_service
def test_a_service_of_the_catalogue_has_a_folder_with_the_usual_anatomy(service):
    folder = ROOT / "roles" / service
    assert folder.is_dir(), f"roles/{service} is missing"
    usual = {"README.md", "defaults", "meta", "templates", "tasks", "vars", "files"}
    assert not {path.name for path in folder.iterdir()} - usual
    in_a_container = tree.catalogue()[service]["image"] is not None
    assert tree.is_service(service) == in_a_container, "templates/opt/aicluster/<service>/compose.yaml.j2"
    check = f"templates/opt/aicluster/checks/{service}.py"
    assert (folder / check).is_file(), f"{check} is missing: how would `verify` know that it works?"


@pytest.mark.parametrize("name", TASK_FILES, ids=str)
def test_no_task_lies_about_failure_or_change_or_asks_whether_it_is_in_the_lab(name):
    for task in tree.tasks_of(name):
        assert "ignore_errors" not in task, task.get("name")
        assert task.get("changed_when") not in (True, "true", "True"), task.get("name")
        assert "set_fact" not in " ".join(task), f"{task.get('name')}: decisions belong in filters"
    assert "'lab' in group_names" not in (ROOT / name).read_text(), "branch on what a node can do"
