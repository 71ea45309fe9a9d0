"""JupyterHub accepts a user with his key and no other, starts notebooks, and serves its metrics."""

import json
import time
from http.cookies import SimpleCookie
from typing import Dict
from urllib.parse import urlencode

import aicluster_verify
from aicluster_backup_kept import require_files
from aicluster_backup_tools import mountpoint
from aicluster_verify import Answer, CheckError, Kit

# What stays is its name in the hub's list and its empty home.
USER = "aicluster-verify"
# The hub itself answers after ten seconds, ready or not.
START_LIMIT_S = 60
TAKEN, THERE = 429, 400
# A start costs a small board many seconds: one an hour proves as much, and one after each start of the
# container, which empties this folder. Notebooks may write there, but not as root.
STARTED = "/tmp/notebook-started"
LATELY = ["find", "/tmp", "-maxdepth", "1", "-path", STARTED, "-user", "root", "-mmin", "-60"]


def keep_cookies(answer: Answer, cookies: Dict[str, str]) -> None:
    """Add the cookies an answer sets."""
    for line in answer.headers.get_all("Set-Cookie") or []:
        cookies.update({name: morsel.value for name, morsel in SimpleCookie(line).items()})


def cookie_header(cookies: Dict[str, str]) -> Dict[str, str]:
    """Return the header that shows them."""
    return {"Cookie": "; ".join("{}={}".format(name, value) for name, value in cookies.items())}


def log_in(kit: Kit, hub: str, password: str) -> Dict[str, str]:
    """Return the cookies of a session; without the one of a login if the password was refused."""
    cookies = {}  # type: Dict[str, str]
    url = kit.url("jupyterhub", "hub", hub + "login")
    keep_cookies(kit.expect(url), cookies)
    form = {"username": USER, "password": password, "_xsrf": cookies.get("_xsrf", "")}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    headers.update(cookie_header(cookies))
    keep_cookies(kit.http(url, method="POST", data=urlencode(form), headers=headers), cookies)
    return cookies


def notebook(kit: Kit, hub: str, session: Dict[str, str]) -> str:
    """Start a notebook and stop it; return what came of it, raise CheckError if it does not come up."""
    url = kit.url("jupyterhub", "hub", hub + "api/users/" + USER)
    headers = dict(cookie_header(session), **{"X-XSRFToken": session.get("_xsrf", "")})
    if kit.execute("jupyterhub", LATELY).strip():
        return "one started within the last hour"
    began = time.monotonic()
    asked = kit.http(url + "/server", method="POST", headers=headers, timeout=30)
    if asked.status == TAKEN:
        return "no notebook slot was free"
    if asked.status == THERE:
        return "another verify starts one"
    if asked.status not in (201, 202):
        raise CheckError("a notebook is not started: {} {}".format(asked.status, asked.text.strip()[:200]))

    def ready() -> bool:
        servers = kit.expect(url, headers=headers).json().get("servers", {})
        return bool(servers.get("", {}).get("ready"))

    try:
        kit.wait(START_LIMIT_S, ready, "a notebook does not come up")
        kit.execute("jupyterhub", ["touch", STARTED])
        return "one started in {:.1f} s".format(time.monotonic() - began)
    finally:
        kit.http(url + "/server", method="DELETE", headers=headers, timeout=30)


def check(kit: Kit) -> str:
    """Return the hub's version; raise CheckError where a user could not work, or anyone could."""
    with open(aicluster_verify.ROOT + "/jupyterhub/conf/settings.json") as handle:
        hub = json.load(handle)["base_url"] + "hub/"
    kit.expect(kit.url("jupyterhub", "hub", hub + "health"))
    version = kit.expect(kit.url("jupyterhub", "hub", hub + "api")).json().get("version")
    password = kit.secret("jupyterhub", "password")
    if "jupyterhub-hub-login" in log_in(kit, hub, "not-" + password):
        raise CheckError("it accepts a wrong password")
    session = log_in(kit, hub, password)
    if "jupyterhub-hub-login" not in session:
        raise CheckError("it refuses the right password")
    keep_cookies(
        kit.expect(kit.url("jupyterhub", "hub", hub + "home"), headers=cookie_header(session)), session
    )
    token = {"Authorization": "Bearer " + kit.secret("jupyterhub", "metrics_token")}
    metrics = kit.expect(kit.url("jupyterhub", "hub", hub + "metrics"), headers=token).text
    running = [
        line.split()[-1] for line in metrics.splitlines() if line.startswith("jupyterhub_running_servers ")
    ]
    count = int(float(running[0])) if running else 0
    homes = "jupyterhub_homes"
    require_files("jupyterhub_bulk", "every home", mountpoint(homes), "/volumes/" + homes, "path=" + homes)
    return "version {} accepted the password and no other; {} notebooks run, {}".format(
        version, count, notebook(kit, hub, session)
    )
