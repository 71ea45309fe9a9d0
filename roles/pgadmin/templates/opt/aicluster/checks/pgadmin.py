"""pgAdmin answers, the operators' password opens it, and every PostgreSQL it was given is in its list."""

import json
import re
from typing import Any, Dict
from urllib.parse import urlencode

from aicluster_verify import Answer, CheckError, Kit

SERVERS = "/opt/aicluster/pgadmin/servers.json"
COMPOSE = "sudo docker compose --project-directory /opt/aicluster "
PROVISION = COMPOSE + "exec -T pgadmin /venv/bin/python3 /opt/aicluster/bin/provision.py"


def session(answer: Answer) -> str:
    """Return the session an answer opens, as the header `Cookie` shows it again."""
    found = re.search(r"\bpga4_session=[^;]+", " ".join(answer.headers.get_all("Set-Cookie", [])))
    if not found:
        raise CheckError("opens no session: %s" % answer.text.strip()[:200])
    return found.group()


def children(kit: Kit, path: str, login: Dict[str, str]) -> Any:
    """Return the nodes below one of the tree; a group that is shown without servers has none."""
    return kit.expect(kit.url("pgadmin", "web", path), headers=login).json()["data"]


def check(kit: Kit) -> str:
    """The user is the one whose name the container was given; the session is closed again."""
    kit.expect(kit.url("pgadmin", "web", "/misc/ping"))
    page = kit.expect(kit.url("pgadmin", "web", "/login"))
    token = re.search(r'"csrfToken": "([^"]+)"', page.text)
    if not token:
        raise CheckError("there is no login page: %s" % page.text.strip()[:200])

    email = kit.execute("pgadmin", ["printenv", "PGADMIN_DEFAULT_EMAIL"]).strip()
    form = {"csrf_token": token.group(1), "email": email, "password": kit.secret("pgadmin", "password")}
    url = kit.url("pgadmin", "web", "/authenticate/login")
    answer = kit.expect(url, 302, "POST", data=urlencode(form), headers={"Cookie": session(page)})
    if not str(answer.headers.get("Location")).endswith("/browser/"):
        raise CheckError("refuses %s with the password of its secret file" % email, PROVISION)

    login = {"Cookie": session(answer), "X-pgA-CSRFToken": token.group(1)}
    groups = children(kit, "/browser/server_group/nodes/", login)
    found = {
        server["label"]
        for group in groups
        for server in children(kit, "/browser/server_group/children/%s" % group["_id"], login)
    }
    kit.http(kit.url("pgadmin", "web", "/logout"), headers=login)
    with open(SERVERS) as handle:
        missing = {server["Name"] for server in json.load(handle)["Servers"].values()} - found
    if missing:
        raise CheckError("not in its list: %s" % ", ".join(sorted(missing)), COMPOSE + "restart pgadmin")
    return "%s signed in, in the list: %s" % (email, ", ".join(sorted(found)) or "no PostgreSQL")
