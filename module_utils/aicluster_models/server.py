"""The short requests to an Ollama server and to mirrors."""

import http.client
import json
import time
from contextlib import closing
from urllib.parse import urlsplit

from .names import normalise, public_address

ANSWER_S = 30
# A mirror is on the LAN: it answers at once or it is down.
MIRROR_S = 5
# Consecutive failures after which no further attempt is made, and the first pause between two attempts.
ATTEMPTS = 5
BACKOFF_S = 2
JSON = {"Content-Type": "application/json"}
# Without it Docker's registry offers only manifests of its oldest kind, which a model has not.
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
HTTP_OK = 200
HTTP_NOT_FOUND = 404


class ModelError(Exception):
    """A sentence for the person who runs the playbook."""


def pause(failures):
    """Wait before another attempt, twice as long after each that failed."""
    time.sleep(BACKOFF_S * 2 ** (failures - 1))


def connect(address, timeout):
    """Return a connection for a `with`; timeout in seconds for connecting and for each read."""
    return closing(http.client.HTTPConnection(address, timeout=timeout))


def mirror_has(mirror, name):
    """Tell whether a mirror has a public model. Raises ModelError if it does not say."""
    path = "/v2/%s/manifests/%s" % public_address(name)
    try:
        with connect(mirror, MIRROR_S) as connection:
            connection.request("HEAD", path, headers={"Accept": MANIFEST})
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        status = "%s: %s" % (type(error).__name__, error)
    if status not in (HTTP_OK, HTTP_NOT_FOUND):
        raise ModelError("HEAD http://%s%s: %s; a mirror says 200 or 404 there" % (mirror, path, status))
    return status == HTTP_OK


class Server:
    """An Ollama server, for example http://192.168.1.154:11434."""

    def __init__(self, url):
        """Take its address."""
        self.url = url
        self.address = urlsplit(url).netloc

    def ask(self, method, path, body=None, accepted=(HTTP_OK,)):
        """Return the text of an accepted answer. A server that is just starting is asked a few times."""
        for failures in range(ATTEMPTS):
            if failures:
                pause(failures)
            try:
                with connect(self.address, ANSWER_S) as connection:
                    connection.request(method, path, body and json.dumps(body), JSON)
                    response = connection.getresponse()
                    status, answer = response.status, response.read().decode("utf-8", "replace")
                break
            except (OSError, http.client.HTTPException) as error:
                last = "%s: %s" % (type(error).__name__, error)
        else:
            raise ModelError(
                "%s does not answer (%s), asked %d times. Is the service up? On the node: "
                "docker compose --project-name aicluster logs ollama" % (self.url, last, ATTEMPTS)
            )
        if status not in accepted:
            raise ModelError(
                "%s %s %s: refused, %s said %s %s"
                % (method, path, json.dumps(body), self.url, status, answer.strip()[:200] or "(nothing)")
            )
        return answer

    def tags(self):
        """Return {normalised name: digest} of the installed models."""
        listed = json.loads(self.ask("GET", "/api/tags"))["models"] or []
        return {normalise(model["name"]): model["digest"] for model in listed}

    def copy(self, source, destination):
        """Give a model a second name."""
        self.ask("POST", "/api/copy", {"source": source, "destination": destination})

    def delete(self, name):
        """Delete a model; one that is gone already is fine."""
        self.ask("DELETE", "/api/delete", {"model": name}, accepted=(HTTP_OK, HTTP_NOT_FOUND))
