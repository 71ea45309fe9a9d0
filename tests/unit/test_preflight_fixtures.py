"""Each mistake in a site description has one message; each unusual but sound description has none."""

import re
from pathlib import Path

import pytest
import site_preflight
import yaml
from site_description import errors_of, production, site_of
from tree import ROOT

from aicluster.preflight.description import cluster_of
from aicluster.preflight.models import model_notes

VALID, INVALID = (sorted((ROOT / "tests/fixtures" / kind).glob("*.yml")) for kind in ("valid", "invalid"))


def sentence(path: Path) -> str:
    return path.stem.replace("-", " ")


@pytest.mark.parametrize("path", VALID, ids=sentence)
def test_a_sound_description_is_accepted(path):
    assert errors_of(site_of(path)) == []


@pytest.mark.parametrize("path", INVALID, ids=sentence)
def test_a_mistake_is_named_as_object_value_rule_and_fix(path):
    errors, expected = errors_of(site_of(path)), yaml.safe_load(path.read_text())["errors"]
    assert errors == ([expected] if isinstance(expected, str) else expected)
    for error in errors:
        _, colon, rest = error.partition(": ")
        assert colon and "; " in rest, f"no fix: {error}"


def test_what_differs_behind_an_alias_and_a_model_that_no_node_has_are_notes():
    site = production()
    for host in site["hosts"].values():
        host["kong_models"] = [{"name": "gemma3:13b"}, *host["kong_models"]]
    assert list(model_notes(site, cluster_of(site))) == [
        "no node has gemma3:13b, which group_vars/all/models.yml describes",
        "alias chat (gpt-oss on AGX0, llama3.2:1b on ORIN0): only AGX0 can think, only AGX0 can take more "
        "than 2048 tokens; others get no such request",
        "alias code (codellama:34b on AGX0, codellama:7b on ORIN0): only AGX0 can take more than 2048 "
        "tokens; others get no such request",
    ]


def test_every_variable_of_the_site_that_the_package_reads_is_handed_to_it():
    text = "".join(path.read_text() for path in (ROOT / "aicluster").rglob("*.py"))
    secrets = {"site_ca", "site_secrets"}
    assert {*re.findall(r'"(site_\w+)"', text)} - secrets <= {*site_preflight.SITE_VARIABLES}
