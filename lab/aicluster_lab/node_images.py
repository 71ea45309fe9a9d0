"""Images on the nodes follow the registry: a tag that was built anew replaces what a node pulled before."""

from collections.abc import Mapping

from docker.models.containers import Container

from .containers import exec_output

LIST = ["docker", "image", "ls", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"]
# What ran from the old image is removed, so that the next run of site.yml sees it missing and makes it anew.
RENEW = (
    'old=$(docker image inspect --format "{{.Id}}" "$1") && docker pull --quiet "$1" >/dev/null '
    '&& docker ps --all --quiet --filter "ancestor=$old" | xargs -r docker rm --force >/dev/null '
    "&& echo renewed"
)


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
