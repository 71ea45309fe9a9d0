"""The Makefile removes nothing but its own, and says in one sentence what it needs."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tree import ROOT


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = ["make", "-C", str(folder), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def checkout(folder: Path) -> Path:
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    return folder


@pytest.mark.parametrize("name", ["my cluster", "my(2)", "my&cluster", "my'cluster"])
@pytest.mark.parametrize("target", ["clean", "test", "test-lab-up", "test-lab-quick"])
def test_a_checkout_with_a_strange_path_is_refused_and_its_neighbour_stays(tmp_path, target, name):
    neighbour = tmp_path / "my"
    neighbour.mkdir()
    (neighbour / "data").touch()
    refused = make(checkout(tmp_path / name), target)
    said = f"has a space or a sign that ssh and shells do not take as it is: {tmp_path}/{name}"
    assert refused.returncode != 0 and said in refused.stderr
    assert (neighbour / "data").exists()


@pytest.mark.parametrize("before", [None, "/elsewhere"], ids=["a new one", "one that was moved"])
@pytest.mark.parametrize("linked", [False, True], ids=["its own", "a link to another checkout's"])
def test_the_environment_of_a_checkout_leads_to_its_package_unless_it_is_of_another(tmp_path, before, linked):
    here, venv = checkout(tmp_path / "cluster"), tmp_path / "venv"
    packages = venv / "lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    for lock in (here, venv):
        (lock / "requirements.lock").touch()
    if before:
        (packages / "aicluster.pth").write_text(f"{before}\n")
    (here / ".venv").symlink_to(venv) if linked else venv.rename(here / ".venv")
    assert make(here, "setup").returncode == 0
    found = [path.read_text().strip() for path in (here / ".venv").rglob("*.pth")]
    assert found == ([before] if linked and before else [] if linked else [str(here)])


def test_a_make_without_oneshell_says_what_is_needed(tmp_path):
    refused = make(checkout(tmp_path / "cluster"), ".FEATURES=", "help")
    assert refused.returncode != 0
    assert "GNU make 3.82 or newer is needed" in refused.stderr
    assert "brew install make" in refused.stderr
