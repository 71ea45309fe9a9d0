"""What a role declares besides its templates is heard, or refused with what was probably meant."""

import re

import pytest
from render import ROLES, hosts_running, renderer

from aicluster.engine.declared import check_state
from aicluster.engine.desired import desired_state
from aicluster.errors import SiteError


@pytest.mark.parametrize(
    ("state", "said"),
    [
        pytest.param(
            {"file": {}}, " has the unknown key file; allowed: .*; did you mean files?", id="a part"
        ),
        pytest.param(
            {"files": {"/a": {"restrat": "docker"}}},
            ".files, /a, has the unknown key restrat; allowed: .*; did you mean restart?",
            id="a reaction of a file",
        ),
        pytest.param(
            {"files": {"/a": {"mode": 0o600}}},
            '.files, /a, has mode 384: must be four octal digits in quotes, as "0600"',
            id="a mode without quotes",
        ),
        pytest.param(
            {"files": {"/a": {"change": "relaod"}}},
            ".files, /a, has change 'relaod': must be recreate or reload or none",
            id="what a change means",
        ),
        pytest.param(
            {"files": {"/a": {"merge": "yaml"}}}, ".files, /a, has merge 'yaml': must be json", id="a merge"
        ),
        pytest.param(
            {"files": {"/a": {"change": "reload"}}},
            ".files, /a, has change reload, but no container has a reload",
            id="a reload nobody carries out",
        ),
        pytest.param(
            {"units": [{"name": "ssh", "enabeld": True}]},
            ".units, ssh, has the unknown key enabeld; allowed: .*; did you mean enabled?",
            id="a key of a unit",
        ),
        pytest.param(
            {"probe": {"uri": "x"}},
            ".probe has the unknown key uri; allowed: file, url; did you mean url?",
            id="a key of a probe",
        ),
        pytest.param(
            {"containers": {"c": {"cheque": "true"}}},
            ".containers, c, has the unknown key cheque; allowed: check, confirm, reload",
            id="a key of a container",
        ),
        pytest.param(
            {"containers": {"c": {"reload": "true"}}},
            ".containers, c, must have reload and confirm, or none",
            id="a reload nobody confirms",
        ),
    ],
)
def test_what_a_role_says_and_nobody_would_hear_is_refused_with_what_was_probably_meant(state, said):
    pattern = re.escape("role x: __x_state" + said).replace(r"\.\*", ".*")
    with pytest.raises(SiteError, match=f"^{pattern}$"):
        check_state("x", state)


def test_a_container_that_the_role_does_not_have_is_refused(monkeypatch):
    rendering = renderer("production", hosts_running("redis")[0])
    state = rendering.state
    wrong = {"containers": {"rediss": {"check": "true"}}}
    monkeypatch.setattr(
        rendering, "state", lambda role, variables: (wrong, "") if role == "redis" else state(role, variables)
    )
    with pytest.raises(SiteError, match=r"role redis: .* unknown key rediss; .*; did you mean redis\?"):
        desired_state(rendering, ROLES)
