"""The documentation: what it names exists, what is derived is up to date, and no file names this folder."""

import re
from pathlib import Path

import pytest
import tree
from by_path import import_file
from render import cluster
from tree import ROOT, catalogue

TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def code_of(name: Path | str) -> str:
    text = (ROOT / name).read_text()
    fenced = re.findall(r"```.*?\n(.*?)```", text, re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("name", tree.named(".md"), ids=str)
def test_the_links_make_targets_and_playbooks_of_a_page_exist(name):
    code = code_of(name)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / name).read_text())
    paths = [name.parent / link for link in links if "://" not in link and not link.startswith("mailto:")]
    paths += map(Path, re.findall(r"\bplaybooks/[a-z-]+\.yml", code))
    assert not [str(path) for path in paths if not (ROOT / path).exists()]
    assert set(re.findall(r"(?:^|[`$ ])make ([a-z][a-z-]+)", code)) <= TARGETS


def test_no_file_names_the_folder_this_copy_lies_in():
    if len(ROOT.parts) < 3:
        pytest.skip("too short a path to look for")
    here = re.compile(re.escape(str(ROOT)) + r"(?![A-Za-z0-9_-])")
    for name in tree.files():
        path = ROOT / name
        if not path.is_symlink() and path.suffix not in {".png", ".gz"}:
            assert not here.search(path.read_text(errors="replace")), name


generate = import_file("docs/generate.py", "generate")


DERIVED = generate.derived()


@pytest.mark.parametrize("path", DERIVED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_derived_file_is_up_to_date(path):
    assert path.read_text() == DERIVED[path], "run `make docs`"


def test_each_port_that_other_machines_reach_says_what_crosses_it_and_why_without_tls():
    placed = (node["services"] for node in cluster("production"))
    entries = [one for services in (catalogue(), *placed) for one in services.items()]
    with_tls = {
        f"{service} ({name})": port.get("tls", False)
        for service, entry in entries
        for name, port in entry["ports"].items()
        if set(port["from"]) - {"localhost"}
    }
    hops = generate.reference.HOPS
    assert with_tls == {hop: not why for hop, (_, why) in hops.items()}, "docs/reference.py: HOPS"
    assert all(crosses for crosses, _ in hops.values())
