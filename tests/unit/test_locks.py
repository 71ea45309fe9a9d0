"""Versions that are written down twice are the same."""

import json
import re
from pathlib import Path

import ansible_collections
import pytest
from tree import ROOT, catalogue, load


def test_required_collections_have_the_versions_of_the_locked_package():
    shipped = {}
    for manifest in (
        path for folder in ansible_collections.__path__ for path in Path(folder).glob("*/*/MANIFEST.json")
    ):
        info = json.loads(manifest.read_text())["collection_info"]
        shipped[f"{info['namespace']}.{info['name']}"] = info["version"]
    required = {item["name"]: item["version"] for item in load("requirements.yml")["collections"]}
    assert required == {name: shipped[name] for name in required}


@pytest.mark.parametrize(("recipe", "pinned"), [
    ("full/ollama/Dockerfile", "ARG VERSION="),
    ("full/sonarqube/Dockerfile", "ARG VERSION="),
    ("images/ollama/go.mod", "require github.com/ollama/ollama v"),
])  # fmt: skip
def test_a_real_program_of_the_lab_has_the_version_of_the_catalogue(recipe, pinned):
    [version] = re.findall(f"^{pinned}(.+)$", (ROOT / "lab" / recipe).read_text(), re.MULTILINE)
    assert f":{version}" in catalogue()[recipe.split("/")[1]]["image"]
