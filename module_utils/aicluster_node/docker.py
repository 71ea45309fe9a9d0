"""The engine and the containers of our compose project.

The API is asked over its socket: starting the command line client costs a small board half a second.
"""

import json

from . import system
from .local_http import http_get, http_json

DOCKER_SOCKET = "/run/docker.sock"
# States of a container that nobody stopped: one that crashes repeatedly is mostly between two starts.
NOT_STOPPED = ("running", "restarting", "paused")
# What somebody started with `docker compose run` carries the name of a service and is none.
OURS = '{"label":["com.docker.compose.project=%s","com.docker.compose.oneoff=False"]}' % system.PROJECT


def engine():
    """Return ({version, api} of the engine, what it says of itself); empty texts and {} without an engine.

    Each answer of it names its version and API version in the headers.
    """
    found = {"version": "", "api": ""}
    _status, lines, body = http_get(DOCKER_SOCKET, "/info")
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "api-version":
            found["api"] = value.strip()
        elif name.lower() == "server":
            # Docker/20.10.24+dfsg1 (linux)
            found["version"] = value.strip().split(" ")[0].partition("/")[2]
    try:
        return found, json.loads(body.decode())
    except ValueError:
        return found, {}


def compose_version():
    """Return the version of the compose plugin, or "". It takes half a second on a small board."""
    return system.run(["docker", "compose", "version", "--short"]).strip()


def project_containers():
    """Return {compose service: {id, owner, digest, state, health}} of this node's compose project."""
    filters = "".join(one if one.isalnum() else "%%%02X" % ord(one) for one in OURS)
    found = {}
    for container in http_json(DOCKER_SOCKET, "/containers/json?all=1&filters=" + filters) or []:
        labels = container["Labels"]
        status = container.get("Status", "")
        # "Up 3 seconds (health: starting)", "Up 2 minutes (unhealthy)"
        health = next((state for state in ("unhealthy", "starting") if state + ")" in status), "")
        found[labels["com.docker.compose.service"]] = {
            "id": container["Id"],
            "owner": labels.get("aicluster.service", ""),
            "digest": labels.get("aicluster.digest", ""),
            "state": container["State"],
            "health": health,
        }
    return found


def containers_of(found):
    """Return {service: [ids of its containers]}."""
    owned = {}
    for container in found.values():
        owned.setdefault(container["owner"], []).append(container["id"])
    return {service: sorted(ids) for service, ids in owned.items()}


def deviating_containers(wanted, inactive, found):
    """Return [{service, why}]: containers that are missing, of another digest, not running or unhealthy.

    Those in `inactive`, which are of other profiles, do not have to run.
    """
    deviating = []
    for service in sorted(wanted):
        container = found.get(service)
        if container is None:
            why = "missing"
        elif container["digest"] != wanted[service]:
            why = "changed"
        elif service in inactive:
            why = ""
        elif container["state"] != "running":
            why = container["state"]
        else:
            why = container["health"]
        if why:
            deviating.append({"service": service, "why": why})
    return deviating


def replaced_images(containers, found, images):
    """Return {compose service: {image, digest}} of the containers that ran and are to have another image.

    `containers`: those that deviate; digest: that of the registry, "" for an image that came from none.
    """
    replaced = {}
    for name in [item["service"] for item in containers if item["why"] == "changed"]:
        if found[name]["state"] == "created":
            continue
        # The list of containers has an id instead of the name once a pull has moved the tag.
        said = http_json(DOCKER_SOCKET, "/containers/%s/json" % found[name]["id"])
        if said and said["Config"]["Image"] != images.get(name):
            image = http_json(DOCKER_SOCKET, "/images/%s/json" % said["Image"]) or {}
            digests = [one.partition("@")[2] for one in image.get("RepoDigests") or ()]
            replaced[name] = {"image": said["Config"]["Image"], "digest": (digests or [""])[0]}
    return replaced


def active_profile(profiles, first):
    """Return the profile in the environment file of compose, `first` until a known one is there."""
    for line in system.read_text(system.STACK_ROOT + "/.env").splitlines():
        name, _, value = line.partition("=")
        if name == "COMPOSE_PROFILES" and any(value in names for names in profiles.values()):
            return value
    return first


def inactive_services(profiles, profile):
    """Return the compose services that do not run in this profile."""
    return sorted(service for service, names in profiles.items() if profile not in names)
