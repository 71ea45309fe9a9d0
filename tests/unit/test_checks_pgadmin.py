"""The check of pgAdmin, which signs in as a browser does: what it says of one that does not work."""

import json

import pytest
from a_kit import ScriptedKit, check_of, failure_of, site

pgadmin = check_of("pgadmin")


def kit_of(leads_to: str = "/browser/", listed: str = "PI52") -> ScriptedKit:
    """A page whose login leads somewhere, and the server in its list."""
    answers = {
        "GET /misc/ping": (200, "PING"),
        "GET /login": (200, '<script>{ "csrfToken": "tok" }</script>', ("Set-Cookie", "pga4_session=before")),
        "POST /authenticate/login": (
            *(302, "", ("Location", leads_to)),
            ("Set-Cookie", "pga4_session=after; Path=/"),
        ),
        "GET /logout": (302, ""),
        "GET /browser/server_group/nodes/": (200, {"data": [{"_id": "1", "label": "aicluster"}]}),
        "GET /browser/server_group/children/1": (200, {"data": [{"label": listed}]}),
    }
    commands = {"pgadmin: printenv PGADMIN_DEFAULT_EMAIL": "operator@example.org\n"}
    secrets = {"pgadmin/password": "the password"}
    return ScriptedKit(site("PI52", {"pgadmin": {"web": 5050}}), answers, commands, secrets)


@pytest.fixture(autouse=True)
def given(tmp_path, monkeypatch):
    """The file of servers the container was given."""
    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"Servers": {"1": {"Name": "PI52"}}}))
    monkeypatch.setattr(pgadmin, "SERVERS", str(path))


def test_the_session_is_closed_again():
    kit = kit_of()
    assert pgadmin.check(kit) == "operator@example.org signed in, in the list: PI52"
    assert kit.asked[-1] == "GET /logout"


def test_the_way_out_of_a_wrong_password_is_told():
    found = failure_of(pgadmin.check, kit_of(leads_to="/login"))
    assert "refuses operator@example.org with the password" in found.evidence
    assert found.next_command.endswith("/opt/aicluster/bin/provision.py")


def test_a_server_that_was_not_loaded_is_named():
    assert failure_of(pgadmin.check, kit_of(listed="PI99")).evidence == "not in its list: PI52"
