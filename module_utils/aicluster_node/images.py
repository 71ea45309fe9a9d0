"""Images: which are missing, what their registries say of them, and pulling them."""

import json
import subprocess

from . import docker, system
from .local_http import HTTP_OK, http_get

# Where `docker login` of root keeps credentials.
LOGINS_FILE = "/root/.docker/config.json"
REGISTRY_TIMEOUT_S = 60
SERVER_ERROR = 500
NO_ANSWER = 504
PULLS_AT_ONCE = 3


def missing_images(images, ask):
    """Return {image: what its registry says} of those that are not on the node; None where `ask` is false."""
    answers = {}
    silent = {}
    for image in sorted(set(images)):
        if http_get(docker.DOCKER_SOCKET, "/images/%s/json" % image)[0] == HTTP_OK:
            continue
        registry = image.partition("/")[0] if "/" in image else ""
        if ask and registry not in silent:
            answers[image] = ask_registry(image)
            if (answers[image]["status"] or 0) >= SERVER_ERROR:
                silent[registry] = answers[image]
        else:
            answers[image] = silent.get(registry)
    return answers


def ask_registry(image):
    """Return {status, message, platforms} of an image in its registry; status None: could not be asked.

    The engine asks, with its proxy and certificates, and downloads nothing.
    """
    unasked = {"status": None, "message": "", "platforms": []}
    headers = login_headers(image)
    # A pull also uses mirrors of the public registry (`registry-mirrors`); not every engine asks them here.
    if headers is None or "registry-mirrors" in system.read_text(system.DAEMON_FILE):
        return unasked
    path = "/distribution/%s/json" % image
    status, _lines, body = http_get(docker.DOCKER_SOCKET, path, headers, REGISTRY_TIMEOUT_S)
    if status is None:
        message = "timeout: no answer within %d s" % REGISTRY_TIMEOUT_S
        return {"status": NO_ANSWER, "message": message, "platforms": []}
    try:
        said = json.loads(body.decode())
    except ValueError:
        return unasked
    platforms = said.get("Platforms") or []
    return {
        "status": status,
        "message": said.get("message", ""),
        "platforms": ["%s/%s" % (one.get("os"), one.get("architecture")) for one in platforms],
    }


def login_headers(image):
    """Return the header with root's login at the image's registry, or "" without a login.

    None where a helper program keeps the login: the registry is then not asked at all.
    """
    import base64

    first, slash, _ = image.partition("/")
    known = first if slash and ("." in first or ":" in first or first == "localhost") else ""
    try:
        logins = json.loads(system.read_text(LOGINS_FILE) or "{}")
        if logins.get("credsStore") or logins.get("credHelpers"):
            return None
        entry = logins.get("auths", {}).get(known or "https://index.docker.io/v1/", {})
        user, colon, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except (ValueError, AttributeError):
        return ""
    if not colon:
        return ""
    login = json.dumps({"username": user, "password": password, "serveraddress": known})
    return "X-Registry-Auth: %s\r\n" % base64.urlsafe_b64encode(login.encode()).decode()


def pull(request):
    """Pull images, a few at a time. Containers and files stay as they are."""
    from concurrent.futures import ThreadPoolExecutor

    # Images that a plan counted as missing while the engine was down may be there.
    images = list(missing_images(request["images"], ask=False))
    with ThreadPoolExecutor(PULLS_AT_ONCE) as pool:
        answers = dict(zip(images, pool.map(pull_one, images)))
    return {
        "changed": any(answer["status"] == HTTP_OK for answer in answers.values()),
        "engine": docker.engine()[0],
        "compose": docker.compose_version(),
        "images": answers,
    }


def pull_one(image):
    """Pull one image; return {status, message, platforms} as `ask_registry` does."""
    command = ["docker", "pull", "--quiet", image]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode == 0:
        return {"status": HTTP_OK, "message": "", "platforms": []}
    said = done.stdout.decode("utf-8", "replace").strip()
    message = said.replace("Error response from daemon: ", "")
    return {"status": SERVER_ERROR, "message": message, "platforms": []}
