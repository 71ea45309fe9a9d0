"""SonarQube is up with its database, accepts its administrator, and creates and deletes a project."""

import base64
from urllib.parse import urlencode

from aicluster_verify import Answer, CheckError, Kit

FLOWS = {"code quality": "a project is created, found and deleted"}
DELIVERED = "admin"
PROVISION = (
    "sudo docker compose --project-directory /opt/aicluster exec sonarqube /opt/aicluster/bin/provision"
)


def ask(kit: Kit, password: str, method: str, path: str, **parameters: str) -> Answer:
    """Ask as `admin`; parameters go into the body of a POST, else into the URL."""
    credentials = base64.b64encode("admin:{}".format(password).encode()).decode()
    headers = {"Authorization": "Basic " + credentials}
    encoded = urlencode(parameters)
    if method == "POST":
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return kit.http(kit.url("sonarqube", "web", path), method, encoded, headers, timeout=15)
    return kit.http(kit.url("sonarqube", "web", path + "?" + encoded), headers=headers, timeout=15)


def knows(kit: Kit, password: str) -> bool:
    """Return whether `admin` may enter with this password."""
    return bool(ask(kit, password, "GET", "/api/authentication/validate").json().get("valid"))


def require(answer: Answer, status: int, what: str) -> Answer:
    """Return the answer if it has this status; raise CheckError naming what was tried."""
    if answer.status != status:
        raise CheckError("{} answered {}: {}".format(what, answer.status, answer.text.strip()[:200]))
    return answer


def check(kit: Kit) -> str:
    """Return the version; raise CheckError where SonarQube does not do its work. No project stays behind."""
    state = kit.expect(kit.url("sonarqube", "web", "/api/system/status")).json()
    if state.get("status") != "UP":
        raise CheckError("its status is {}".format(state.get("status")))
    password = kit.secret("sonarqube", "admin_password")
    if knows(kit, DELIVERED):
        raise CheckError("admin can still log in with the default password", PROVISION)
    if not knows(kit, password):
        raise CheckError("admin cannot log in with the password of the site's secrets", PROVISION)
    passcode = {"Authorization": "Bearer " + kit.secret("sonarqube", "passcode")}
    require(
        kit.http(kit.url("sonarqube", "web", "/api/monitoring/metrics"), headers=passcode), 200, "metrics"
    )
    key = "aicluster-verify-" + kit.run_id
    try:
        require(
            ask(kit, password, "POST", "/api/projects/create", project=key, name=key), 200, "a new project"
        )
        found = require(ask(kit, password, "GET", "/api/projects/search", projects=key), 200, "a search")
        if key not in [project.get("key") for project in found.json().get("components", [])]:
            raise CheckError("a project that was just made is not found")
    finally:
        deleted = ask(kit, password, "POST", "/api/projects/delete", project=key)
    require(deleted, 204, "deleting the project")
    return "version {} is up; a project was made, found and deleted".format(state.get("version"))
