"""What services say of themselves reaches Ansible and the engine, or one sentence says why not."""

import pytest
from ansible.template import trust_as_template
from programs import ansible
from render import hosts_running, renderer
from tree import ROOT

from aicluster.engine.declared import problems
from aicluster.engine.desired import desired_state
from aicluster.errors import SiteError
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


@pytest.mark.parametrize(("text", "reason"), [
    pytest.param("summary: [", "did not find expected node", id="a bracket that is not closed"),
])  # fmt: skip
def test_files_that_cannot_be_read_are_named_together(tmp_path, text, reason):
    for service in ("kong", "redis"):
        (tmp_path / service / "meta").mkdir(parents=True)
        (tmp_path / service / "meta/service.yml").write_text(text)
    with pytest.raises(ValueError, match=r"roles/kong/meta.* roles/redis/meta[^\n]*$") as told:
        catalogue.load(tmp_path)
    assert reason in str(told.value)


@pytest.mark.parametrize(("said", "rendered"), [
    pytest.param({"packages": "{{ some }}"}, "packages of service x '{{ some }}'", id="a list"),
    pytest.param({"files": "{{ some }}"}, "files of service x '{{ some }}'", id="a mapping"),
    pytest.param({"units": [{"name": "a", "boot": "{{ some }}"}]},
        "units.0.boot of service x '{{ some }}'", id="a truth, three levels down"),
])  # fmt: skip
def test_a_template_may_stand_for(said, rendered):
    assert not list(problems("x", said, templates=True))
    [problem] = problems("x", said)
    assert problem.startswith(f"{rendered}: must be ") and problem.endswith("in roles/x/meta/service.yml")


@pytest.mark.parametrize(("said", "message"), [
    pytest.param({"packages": "{{ 'jq' }}", "units": "{{ {} }}"},
        "packages of service redis 'jq': must be a list of names; correct it in "
        "roles/redis/meta/service.yml\n"
        "units of service redis {}: must be a list of mappings with name, boot, waits; "
        "correct it in roles/redis/meta/service.yml", id="templates that give something else"),
    pytest.param({"containers": {"rediss": {"check": "true"}}},
        "containers.rediss of service redis unknown: must be one of the role's compose file, redis; "
        "write redis in roles/redis/meta/service.yml", id="a container that its compose file does not have"),
])  # fmt: skip
def test_a_run_refuses_before_it_asks_the_node(monkeypatch, said, message):
    rendering = renderer("production", hosts_running("redis")[0])
    read = rendering._yaml
    trusted = {key: trust_as_template(said[key]) if isinstance(said[key], str) else said[key] for key in said}
    monkeypatch.setattr(rendering, "_yaml", lambda path: trusted if "redis/meta" in str(path) else read(path))
    with pytest.raises(SiteError) as refused:
        desired_state(rendering)
    assert str(refused.value) == message
