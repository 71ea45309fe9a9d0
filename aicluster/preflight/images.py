"""Images that a node cannot have: what its engine was told, as a rule and a fix."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..site.catalogue import file_of

IMAGES_FILE = "group_vars/all/images.yml"
# `{first}` is filled in, by the name of a service.
SERVICE_FILE = file_of("{first}")
PUBLIC_REGISTRY = "docker.io"
HTTP_OK = 200


class Kind(NamedTuple):
    """A kind of refusal of a registry: what its words look like, the rule, and the fix."""

    words: str
    rule: str
    fix: str
    # It refuses all images of the registry alike: once is enough.
    of_registry: bool = False


MIRROR = (
    f"check name, network and proxy of the node (`sudo systemctl edit docker`, Environment=HTTPS_PROXY=...), "
    f"or name a mirror it can reach: site_image_mirror in {IMAGES_FILE}"
)
CORRECT = "look up which exist and correct image of {first} in " + SERVICE_FILE
UNREACHABLE = "registry {registry} must be reachable from the node"
# The first kind whose words are in what the engine said; `{...}` is filled in by `finding`.
KINDS = (
    Kind(r"proxyconnect|dial tcp|no such host|timeout|deadline exceeded", UNREACHABLE, MIRROR, True),
    Kind(
        r"no matching manifest|no build for",
        "must be built for the node's architecture",
        "take a tag that is, or another image, for {first} in " + SERVICE_FILE,
    ),
    # A removed repository cannot be told from a private one: `does not exist or may require docker login`.
    Kind(
        r"denied|unauthorized|authentication required|no basic auth|forbidden|repository .* not found",
        "must be there for everyone, but registry {registry} has no such image or wants a login",
        f"look it up and correct image of {{first}} in {SERVICE_FILE}, "
        "or `sudo docker login {registry}` there",
    ),
    Kind(
        r"toomanyrequests|too many requests|rate limit",
        "registry {registry} must answer, but has had too many requests",
        f"wait an hour, `sudo docker login {{registry}}` there, or set site_image_mirror in {IMAGES_FILE}",
        True,
    ),
    Kind(
        r"x509|certificate",
        "registry {registry} must show a certificate the node trusts",
        "put its CA on the node as /etc/docker/certs.d/{registry}/ca.crt, or correct site_image_mirror in "
        + IMAGES_FILE,
        True,
    ),
    Kind(
        r"HTTP response to HTTPS client",
        "registry {registry} must speak TLS or be named as one that does not",
        f"add `{{registry}}` to docker_engine_insecure_registries in {IMAGES_FILE}",
        True,
    ),
    Kind(r"no space left", "its layers must fit on the disk", "`sudo docker image prune --all` there"),
    Kind(r"manifest unknown|not found", "registry {registry} has no such tag", CORRECT),
    Kind("", UNREACHABLE, MIRROR, True),
)


def registry_of(image: str) -> str:
    """Return host[:port] of the registry an image comes from."""
    first, slash, _ = image.partition("/")
    return first if slash and (first == "localhost" or set(".:") & set(first)) else PUBLIC_REGISTRY


def names(services: Iterable[str]) -> str:
    """Return `service a` or `services a and b`."""
    listed = sorted(set(services))
    return f"service{'s' if len(listed) > 1 else ''} {' and '.join(listed)}"


def image_findings(
    node: str, answers: Mapping[str, Any], services_of: Mapping[str, Sequence[str]], architecture: str
) -> Iterator[str]:
    """Yield the images that are missing on a node and cannot be had; one sentence for all of a registry.

    `answers`: image -> None (not asked), or status (HTTP, None if not asked), message, and platforms
    (`os/architecture`, possibly none said).
    """
    refused: dict[tuple[str, Kind], list[str]] = {}
    for image, answer in answers.items():
        if answer is None or answer["status"] is None:
            continue
        error = refusal(answer, architecture)
        if error:
            kind = next(kind for kind in KINDS if re.search(kind.words, error, re.IGNORECASE))
            key = registry_of(image) if kind.of_registry else image
            refused.setdefault((key, kind), []).append(image)
    for (_, kind), alike in refused.items():
        error = str(refusal(answers[alike[0]], architecture))
        services = [service for image in alike for service in services_of[image]]
        yield finding(kind, alike, services, node, error)


def refusal(answer: Mapping[str, Any], architecture: str) -> str | None:
    """Return why an image cannot be had, None if it can."""
    if answer["status"] != HTTP_OK:
        return " ".join(str(answer["message"]).split()) or f"status {answer['status']}"
    built = [platform for platform in answer["platforms"] if platform.startswith("linux/")]
    if built and f"linux/{architecture}" not in built:
        return f"no build for linux/{architecture}, only {', '.join(sorted(set(built)))}"
    return None


def finding(kind: Kind, alike: list[str], services: list[str], node: str, error: str) -> str:
    """Return the sentence about one image, or about all images of a registry that does not answer."""
    subject = f"image {alike[0]} of {names(services)}" if len(alike) == 1 else f"images of {names(services)}"
    # The mirror is no part of what the catalogue says.
    filled = {"registry": registry_of(alike[0]), "first": sorted(services)[0]}
    return f"{subject} on {node} ({error}): {kind.rule.format_map(filled)}; {kind.fix.format_map(filled)}"
