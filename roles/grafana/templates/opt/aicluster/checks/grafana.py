"""Logs in, looks for every dashboard, and has Grafana ask Prometheus which targets are up."""

import base64
import glob
import json
import os
from typing import Any, Set, Tuple
from urllib.parse import urlsplit

from aicluster_verify import CheckError, Kit, possible_causes

FLOWS = {"dashboards": "every dashboard opens (on the gateway: through nginx); Prometheus is queried"}
DASHBOARDS = "/opt/aicluster/grafana/dashboards"
DATASOURCE = "prometheus"
OK, UNAUTHORIZED = 200, 401
PROVISION = (
    "sudo docker compose --project-directory /opt/aicluster exec -T grafana /opt/aicluster/bin/provision"
)
FILES = "sudo docker compose --project-directory /opt/aicluster logs grafana | grep -i provision"


def root_path(kit: Kit) -> str:
    """Return the path Grafana answers below, with a `/` at both ends."""
    return urlsplit(kit.execute("grafana", ["printenv", "GF_SERVER_ROOT_URL"]).strip()).path


def asked(kit: Kit, root: str, path: str, login: str) -> Tuple[int, str]:
    """Return status and body of a request inside the container: Grafana may be published to nobody.

    `login` is a header; it goes in by standard input, where `ps` does not show it.
    """
    port = kit.services["grafana"]["ports"]["web"]["container"]
    url = "http://127.0.0.1:%d%s%s" % (port, root, path)
    argv = ["curl", "--silent", "--show-error", "--max-time", "20", "--header", "@-"]
    answer = kit.execute("grafana", [*argv, "--write-out", "\n%{http_code}", url], stdin=login)
    body, _, status = answer.rpartition("\n")
    return int(status), body


def parsed(what: str, answer: Tuple[int, str]) -> Any:
    """Return the JSON of a 200; raise CheckError with whatever else was said."""
    status, body = answer
    if status != OK:
        raise CheckError("%s: answered %d: %s" % (what, status, body.strip()[:200]))
    try:
        return json.loads(body)
    except ValueError:
        raise CheckError("%s: answered no JSON: %s" % (what, body.strip()[:200])) from None


def shipped() -> Set[str]:
    """Return the uids of the dashboards the toolkit put on this node."""
    found = set()  # type: Set[str]
    for path in glob.glob(os.path.join(DASHBOARDS, "*.json")):
        with open(path) as handle:
            found.add(json.load(handle)["uid"])
    return found


def opened(kit: Kit, root: str) -> str:
    """Open Grafana the way people do, at its port or through nginx; return that way."""
    if kit.services["grafana"]["ports"]["web"]["published"]:
        kit.expect(kit.url("grafana", "web", root + "api/health"))
        return "its port"
    if "nginx" in kit.services and root != "/":
        with possible_causes(["nginx on " + kit.node]):
            kit.expect(kit.url("nginx", "http", root + "api/health"))
        return "nginx"
    return "its container only"


def check(kit: Kit) -> str:
    """Return what was seen; raise CheckError for a login, a dashboard or a data source that does not work."""
    root = root_path(kit)
    pair = "admin:%s" % kit.secret("grafana", "admin_password")
    login = "Authorization: Basic %s" % base64.b64encode(pair.encode()).decode()

    database = parsed("/api/health", asked(kit, root, "api/health", login)).get("database")
    if database != "ok":
        raise CheckError("/api/health: database is %r" % (database,))

    status, body = asked(kit, root, "api/user", login)
    if status == UNAUTHORIZED:
        raise CheckError("refuses the password of its secret file for the user admin", PROVISION)
    user = parsed("/api/user", (status, body)).get("login")
    if user != "admin":
        raise CheckError("a login as admin is answered as %r" % (user,))

    found = parsed("/api/search", asked(kit, root, "api/search?type=dash-db&limit=1000", login))
    expected = shipped()
    missing = sorted(expected - {each["uid"] for each in found})
    if missing or not expected:
        raise CheckError("dashboards missing: %s" % (", ".join(missing) or "no file is on this node"), FILES)

    path = "api/datasources/proxy/uid/%s/api/v1/query?query=up" % DATASOURCE
    with possible_causes(kit.hosts("prometheus")):
        targets = parsed("data source %s" % DATASOURCE, asked(kit, root, path, login))
        series = targets.get("data", {}).get("result", [])
        if targets.get("status") != "success" or not series:
            raise CheckError("data source %s: `up` gives no series: %s" % (DATASOURCE, str(targets)[:200]))

    return "admin logs in, %d dashboards, %d targets seen through the data source, open at %s" % (
        len(expected),
        len(series),
        opened(kit, root),
    )
