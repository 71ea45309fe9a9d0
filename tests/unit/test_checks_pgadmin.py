"""The check of pgAdmin: a login as a browser does it, and the list of servers behind it."""

import json
from email.message import Message
from typing import Any
from urllib.parse import parse_qs

import pytest
from aicluster_verify import Answer, Broken, Kit
from by_path import import_file

pgadmin = import_file("roles/pgadmin/templates/opt/aicluster/checks/pgadmin.py", "aicluster_check_pgadmin")

BEFORE, AFTER = "pga4_session=before", "pga4_session=after"
GROUPS = [{"_id": "1", "label": "Servers"}, {"_id": "2", "label": "aicluster"}]


def headers(*pairs: tuple[str, str]) -> Message:
    message = Message()
    for name, value in pairs:
        message[name] = value
    return message


class FakeKit(Kit):
    """A node whose pgAdmin has one user, and knows the servers of a list."""

    def __init__(self, **differing: Any) -> None:
        web = {"port": 5050, "container": 5050, "published": "192.0.2.52"}
        super().__init__(
            {"node": "PI52", "services": {"pgadmin": {"ports": {"web": web}}}, "cluster": []}, "run"
        )
        self.login_page = '<script>{ "csrfToken": "tok" }</script>'
        self.cookies = [("Set-Cookie", "remember_token=; Path=/"), ("Set-Cookie", f"{BEFORE}; HttpOnly")]
        self.password, self.listed = "the password", ["PI52"]
        vars(self).update(differing)
        self.signed_in = False

    def secret(self, service: str, name: str) -> str:
        assert (service, name) == ("pgadmin", "password")
        return "the password"

    def execute(self, service: str, argv: Any, stdin: str | None = None) -> str:
        assert (service, argv, stdin) == ("pgadmin", ["printenv", "PGADMIN_DEFAULT_EMAIL"], None)
        return "operator@example.org\n"

    def http(
        self, url: str, method: str = "GET", data: Any = None, headers: Any = None, timeout: float = 10
    ) -> Answer:
        assert (method, timeout <= 30) == ("POST" if data else "GET", True)
        return self.answer(url.removeprefix("http://192.0.2.52:5050"), str(data or ""), dict(headers or {}))

    def answer(self, path: str, data: str, sent: dict[str, str]) -> Answer:
        if path == "/misc/ping":
            return Answer(200, headers(), b"PING")
        if path == "/login":
            return Answer(200, headers(*self.cookies), self.login_page.encode())
        if path == "/authenticate/login":
            form = {name: values[0] for name, values in parse_qs(data).items()}
            assert (form["csrf_token"], form["email"]) == ("tok", "operator@example.org")
            assert sent["Cookie"] == BEFORE
            self.signed_in = form["password"] == self.password
            place = "/browser/" if self.signed_in else "/login"
            return Answer(302, headers(("Location", place), ("Set-Cookie", f"{AFTER}; Path=/")), b"")
        assert (sent["Cookie"], sent["X-pgA-CSRFToken"]) == (AFTER, "tok")
        if path == "/logout":
            self.signed_in = False
            return Answer(302, headers(), b"")
        assert self.signed_in, "the session is open while it is used"
        below = {
            "/browser/server_group/nodes/": GROUPS,
            "/browser/server_group/children/1": [],
            "/browser/server_group/children/2": [{"label": name} for name in self.listed],
        }
        return Answer(200, headers(), json.dumps({"data": below[path]}).encode())


@pytest.fixture(autouse=True)
def given(tmp_path, monkeypatch):
    """The file of servers the container was given."""
    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"Servers": {"1": {"Name": "PI52"}}}))
    monkeypatch.setattr(pgadmin, "SERVERS", str(path))
    return path


def test_a_pgadmin_that_works_is_told_with_what_was_seen():
    evidence = pgadmin.check(FakeKit())
    assert evidence == "operator@example.org signed in, in the list: PI52"


def test_the_session_is_closed_again():
    kit = FakeKit()
    pgadmin.check(kit)
    assert kit.signed_in is False


def test_a_cluster_without_a_database_it_may_reach_is_no_fault_of_the_page(given):
    given.write_text('{"Servers": {}}')
    assert pgadmin.check(FakeKit(listed=[])).endswith("no PostgreSQL")


@pytest.mark.parametrize(
    ("differing", "evidence"),
    [
        pytest.param({"login_page": "<html>"}, "the login page is none: <html>", id="another program"),
        pytest.param({"cookies": []}, "opens no session", id="no session"),
        pytest.param(
            {"password": "an old one"}, "refuses operator@example.org with the password", id="old password"
        ),
        pytest.param({"listed": []}, "not in its list: PI52", id="a server that was not loaded"),
    ],
)
def test_one_that_does_not_is_named_with_the_evidence(differing, evidence):
    with pytest.raises(Broken, match=evidence):
        pgadmin.check(FakeKit(**differing))


def test_the_way_out_of_a_wrong_password_is_told():
    with pytest.raises(Broken) as broken:
        pgadmin.check(FakeKit(password="an old one"))
    assert broken.value.next_command.endswith("/opt/aicluster/bin/provision.py")
