"""What services say of themselves reaches Ansible as a variable, or one sentence says why not."""

import pytest
from programs import ansible
from tree import ROOT

from aicluster.site import catalogue


@pytest.mark.parametrize("command", [
    pytest.param(["ansible-inventory", "--list"], id="an inventory"),
    pytest.param(["ansible-playbook", "site.yml"], id="a run"),
])  # fmt: skip
def test_a_checkout_that_was_not_set_up_is_told_so_in_one_sentence(tmp_path, command):
    (tmp_path / "aicluster").mkdir()
    (tmp_path / "aicluster/__init__.py").touch()
    refused = ansible(*command, PYTHONPATH=str(tmp_path))
    said = f"Python does not find {ROOT}/aicluster; run `make setup` there"
    assert refused.returncode != 0 and " ".join(refused.stderr.split()).count(said) == 1


def test_another_folder_of_roles_hides_no_service(tmp_path):
    shown = ansible("ansible-inventory", "--graph", "--vars", ANSIBLE_ROLES_PATH=f"{tmp_path}:{ROOT}/roles")
    assert "kong:3.9" in shown.stdout


@pytest.mark.parametrize(("text", "reason"), [
    pytest.param("summary: [", "did not find expected node", id="a bracket that is not closed"),
    pytest.param("uid: 1\nuid: 2\n", "the same key twice: ['uid']", id="a key twice"),
])  # fmt: skip
def test_files_that_cannot_be_read_are_named_together(tmp_path, text, reason):
    for service in ("kong", "redis"):
        (tmp_path / service / "meta").mkdir(parents=True)
        (tmp_path / service / "meta/service.yml").write_text(text)
    with pytest.raises(ValueError, match=r"roles/kong/meta.* roles/redis/meta[^\n]*$") as told:
        catalogue.load(tmp_path)
    assert reason in str(told.value)
