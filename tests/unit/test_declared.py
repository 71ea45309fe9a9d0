"""One table checks what a role deploys to a node: the preflight its templates, a run what they become."""

import pytest
from ansible.template import trust_as_template
from render import hosts_running, renderer

from aicluster.engine.declared import problems
from aicluster.engine.desired import desired_state
from aicluster.errors import SiteError


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
