"""The lab's own registry: its storage is build cache, so a second lab finds every image already in it.

Images on the nodes follow it: a tag that was built anew replaces what a node pulled before.
"""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse
from ipaddress import IPv4Address

import docker
from docker.errors import APIError
from docker.models.containers import Container

from .containers import Description, exec_output, wake
from .errors import LabError
from .images import REGISTRY
from .sitedata import PREFIX

CONTAINER = f"{PREFIX}-registry"
# Kept beside the images by the engine: no label, so that it outlives the lab and serves every checkout.
STORAGE = f"{PREFIX}-registry"
PORT_VARIABLE = "AICLUSTER_LAB_REGISTRY_PORT"
DEFAULT_PORT = "5077"
START_TIMEOUT_S = 30
LIST = ["docker", "image", "ls", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"]
# What ran from the old image is removed, so that the next run of site.yml sees it missing and makes it anew.
RENEW = (
    'old=$(docker image inspect --format "{{.Id}}" "$1") && docker pull --quiet "$1" >/dev/null '
    '&& docker ps --all --quiet --filter "ancestor=$old" | xargs -r docker rm --force >/dev/null '
    "&& echo renewed"
)
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json,application/vnd.oci.image.manifest.v1+json,"
    "application/vnd.docker.distribution.manifest.list.v2+json,application/vnd.oci.image.index.v1+json"
)


def published_port() -> int:
    """Port on 127.0.0.1 this machine pushes to (every engine accepts plain HTTP there)."""
    setting = os.environ.get(PORT_VARIABLE) or DEFAULT_PORT
    if not setting.isdigit() or not 0 < int(setting) < 1 << 16:
        raise LabError(f"{PORT_VARIABLE} is `{setting}`; it must be a port number, 1 to 65535.")
    return int(setting)


def local_tag(image: str, port: int) -> str:
    """Tag under which this machine keeps and pushes a catalogue image."""
    return f"127.0.0.1:{port}/{image}"


def description(address: IPv4Address, inner_port: int, port: int) -> Description:
    """Describe the registry container, its blobs in a volume that stays."""
    return Description(
        name=CONTAINER,
        image=REGISTRY,
        address=address,
        hostname="registry",
        host_config={
            "Binds": [f"{STORAGE}:/var/lib/registry"],
            "PortBindings": {f"{inner_port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]},
        },
        config={"Env": [f"REGISTRY_HTTP_ADDR=:{inner_port}"], "ExposedPorts": {f"{inner_port}/tcp": {}}},
    )


def start(container: Container) -> bool:
    """Start the registry. True if it had to be."""
    try:
        return wake(container)
    except APIError as error:
        raise LabError(
            f"The lab's registry does not start: {error.explanation}. "
            f"Where its port of 127.0.0.1 is taken, set {PORT_VARIABLE} to a free one."
        ) from None


def wait_until_ready(port: int) -> None:
    """Wait for the registry's API."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            _get(port, "/v2/", "GET").close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise LabError(
        f"The lab's registry did not answer within {START_TIMEOUT_S} s: see `docker logs {CONTAINER}`."
    )


def publish(client: docker.DockerClient, image: str, port: int) -> bool:
    """Push a catalogue image unless the registry has exactly it. True if it was pushed."""
    tag = local_tag(image, port)
    repository, _, version = tag.rpartition(":")
    stored = stored_digest(image, port)
    known = client.images.get(tag).attrs.get("RepoDigests") or []
    if stored and f"{repository}@{stored}" in known:
        return False
    for line in client.images.push(repository, version, stream=True, decode=True):
        if "error" in line:
            raise LabError(
                f"The lab's registry refuses {image}: {line['error']}. See `docker logs {CONTAINER}`."
            )
    return True


def stored_digest(image: str, port: int) -> str:
    """Digest of a catalogue image in the lab's registry, `sha256:...`; an empty text if it is not there."""
    name, _, version = image.rpartition(":")
    try:
        with _get(port, f"/v2/{name}/manifests/{version}", "HEAD") as answer:
            return str(answer.headers.get("Docker-Content-Digest", ""))
    except urllib.error.HTTPError:
        return ""


def outdated(listing: str, wanted: Mapping[str, str]) -> list[str]:
    """Images a node holds under a tag that now means another digest.

    `listing` has lines `name:tag digest`; `wanted` maps name:tag to the registry's digest.
    """
    held: dict[str, set[str]] = {}
    for image, _, digest in (line.partition(" ") for line in listing.splitlines()):
        held.setdefault(image, set()).add(digest)
    return [image for image, digest in wanted.items() if image in held and digest not in held[image]]


def renew(node: Container, wanted: Mapping[str, str]) -> int:
    """Pull what is outdated on a node and remove what runs from it. Returns how many images that were."""
    stale = outdated(exec_output(node, LIST), wanted)
    return sum("renewed" in exec_output(node, ["sh", "-c", RENEW, "sh", image]) for image in stale)


def _get(port: int, path: str, method: str) -> HTTPResponse:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", method=method, headers={"Accept": MANIFESTS}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answer: HTTPResponse = opener.open(request, timeout=5)
    return answer
