"""A user logs in to JupyterHub with a key; the run that takes her away ends all she does there."""

import json
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

import site_under_test as site

[NODE, *_] = site.running("jupyterhub")
HUB = f"http://{NODE.address}:{NODE.port('jupyterhub', 'hub')}/jupyter/hub/"
NAME, KEY, START_S = "e2e-anna", "key-of-e2e-anna", 90
HOME = f'"$(docker volume inspect --format "{{{{.Mountpoint}}}}" aicluster_jupyterhub_homes)"/{NAME}'


class Browser:
    """Keeps cookies, and sends what a page of the hub sends with a request."""

    def __init__(self) -> None:
        self.cookies = CookieJar()
        self.opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(self.cookies))

    def cookie(self, name: str) -> str:
        return next((str(one.value) for one in self.cookies if one.name == name), "")

    def ask(self, path: str, form: dict[str, str] | None = None, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of an answer; a `form` is posted."""
        headers = {"X-XSRFToken": self.cookie("_xsrf")}
        if form is None:
            headers["Content-Type"] = "application/json"
        data = urlencode(form).encode() if form is not None else None
        request = Request(HUB + path, data, headers, method=method if form is None else "POST")
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()

    def log_in(self, key: str) -> bool:
        self.ask("login")
        form = {"username": NAME, "password": key, "_xsrf": self.cookie("_xsrf")}
        # Not to the page that starts a notebook.
        self.ask("login?next=%2Fjupyter%2Fhub%2Fhome", form)
        return bool(self.cookie("jupyterhub-hub-login"))

    def has_a_notebook(self) -> bool:
        servers = json.loads(self.ask(f"api/users/{NAME}")[1])["servers"]
        return bool(servers.get("", {}).get("ready"))

    def start_a_notebook(self) -> None:
        self.ask("home")
        self.ask(f"api/users/{NAME}/server", method="POST")
        site.wait_until(self.has_a_notebook, START_S, "no notebook starts")


def processes() -> int:
    """How many processes are those of the owner of the home."""
    count = f'find /proc -maxdepth 1 -uid "$(stat --format %u {HOME})" -name "[0-9]*" | wc -l'
    return int(site.shell(NODE, count))


def test_a_key_of_her_own_alone_opens_the_hub_and_the_run_that_takes_her_away_ends_all_she_does(tmp_path):
    layer = site.users_layer(tmp_path, {NAME: KEY}, {"name": NAME, "role": "user"})
    browser = Browser()
    try:
        site.run_site(*layer, "--limit", NODE.address).succeeded()
        assert browser.log_in(KEY)
        assert not Browser().log_in(site.secrets()["jupyterhub_password"])
        browser.start_a_notebook()
        assert processes() > 0
    finally:
        after = site.run_site("--limit", NODE.address)
    after.succeeded()
    try:
        assert browser.ask("api/user")[0] == 403
        assert not Browser().log_in(KEY)
        assert processes() == 0
    finally:
        site.shell(NODE, f"rm -r {HOME}")
