"""The check of pgAdmin: a login as a browser does it, and the list of servers behind it."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from a_kit import ScriptedKit, check_of, site
from aicluster_verify import Broken

pgadmin = check_of("pgadmin")
BEFORE, AFTER = "pga4_session=before", "pga4_session=after"
GROUPS = [{"_id": "1", "label": "Servers"}, {"_id": "2", "label": "aicluster"}]


class PgAdmin:
    """One that has one user, and knows the servers of a list."""

    def __init__(self, **differing: Any) -> None:
        self.login_page = '<script>{ "csrfToken": "tok" }</script>'
        self.cookies = [("Set-Cookie", "remember_token=; Path=/"), ("Set-Cookie", f"{BEFORE}; HttpOnly")]
        self.password, self.listed = "the password", ["PI52"]
        vars(self).update(differing)
        self.signed_in = False

    def login(self, data: str, sent: Any) -> Any:
        form = {name: values[0] for name, values in parse_qs(data).items()}
        assert (form["csrf_token"], form["email"]) == ("tok", "operator@example.org")
        assert sent["Cookie"] == BEFORE
        self.signed_in = form["password"] == self.password
        place = "/browser/" if self.signed_in else "/login"
        return 302, "", ("Location", place), ("Set-Cookie", f"{AFTER}; Path=/")

    def logout(self, _data: Any, sent: Any) -> Any:
        assert (sent["Cookie"], sent["X-pgA-CSRFToken"]) == (AFTER, "tok")
        self.signed_in = False
        return 302, ""

    def below(self, nodes: Any) -> Callable[[Any, Any], Any]:
        def answer(_data: Any, sent: Any) -> Any:
            assert (sent["Cookie"], sent["X-pgA-CSRFToken"]) == (AFTER, "tok")
            assert self.signed_in, "the session is open while it is used"
            return 200, {"data": nodes}

        return answer

    def kit(self) -> ScriptedKit:
        """The kit that asks it."""
        answers: dict[str, Any] = {
            "GET /misc/ping": (200, "PING"),
            "GET /login": (200, self.login_page, *self.cookies),
            "POST /authenticate/login": self.login,
            "GET /logout": self.logout,
            "GET /browser/server_group/nodes/": self.below(GROUPS),
            "GET /browser/server_group/children/1": self.below([]),
            "GET /browser/server_group/children/2": self.below([{"label": name} for name in self.listed]),
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
    return path


def test_a_pgadmin_that_works_is_told_with_what_was_seen():
    evidence = pgadmin.check(PgAdmin().kit())
    assert evidence == "operator@example.org signed in, in the list: PI52"


def test_the_session_is_closed_again():
    page = PgAdmin()
    pgadmin.check(page.kit())
    assert page.signed_in is False


@pytest.mark.parametrize(
    ("differing", "evidence"),
    [
        pytest.param(
            {"password": "an old one"}, "refuses operator@example.org with the password", id="old password"
        ),
        pytest.param({"listed": []}, "not in its list: PI52", id="a server that was not loaded"),
    ],
)
def test_one_that_does_not_is_named_with_the_evidence(differing, evidence):
    with pytest.raises(Broken, match=evidence):
        pgadmin.check(PgAdmin(**differing).kit())
