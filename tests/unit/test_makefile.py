"""The Makefile removes nothing but its own."""

import shutil
import subprocess

import pytest
from tree import ROOT


@pytest.mark.parametrize("name", ["my cluster", "my'cluster"])
@pytest.mark.parametrize("target", ["clean", "test-lab-quick"])
def test_a_checkout_with_a_strange_path_is_refused_and_its_neighbour_stays(tmp_path, target, name):
    for folder in ("my", name):
        (tmp_path / folder).mkdir()
    (tmp_path / "my/data").touch()
    shutil.copy(ROOT / "Makefile", tmp_path / name)
    argv = ["make", "-C", str(tmp_path / name), target]
    refused = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    said = f"has a space or a sign that ssh and shells do not take as it is: {tmp_path}/{name}"
    assert refused.returncode != 0 and said in refused.stderr
    assert (tmp_path / "my/data").exists()
