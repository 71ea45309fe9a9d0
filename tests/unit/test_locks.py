"""Contracts of what is installed: one lock, no addresses in it, collections equal to it."""

import json
import re
from pathlib import Path

import ansible_collections
import pytest
import tree
from tree import ROOT, load


@pytest.mark.parametrize("lock", tree.named("requirements.lock", "requirements.txt"), ids=str)
def test_a_lock_names_no_address_and_has_a_hash_for_every_package(lock):
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|^[-/]", text, re.MULTILINE)
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        if not entry.startswith("#"):
            assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_required_collections_have_the_versions_of_the_locked_package():
    shipped = {}
    for manifest in (
        path for folder in ansible_collections.__path__ for path in Path(folder).glob("*/*/MANIFEST.json")
    ):
        info = json.loads(manifest.read_text())["collection_info"]
        shipped[f"{info['namespace']}.{info['name']}"] = info["version"]
    required = {item["name"]: item["version"] for item in load("requirements.yml")["collections"]}
    assert required == {name: shipped[name] for name in required}
