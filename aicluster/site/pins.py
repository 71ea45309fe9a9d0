"""Images that a rollback put back, and which later runs keep until their line is deleted."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from ..errors import SiteError
from .catalogue import is_exact_image

PINS_FILE = "group_vars/all/pinned.yml"
HEAD = """\
# Written by playbooks/rollback.yml. A line keeps an image that was put back on its node. Delete it, and the
# next run of site.yml backs up the data of the service and changes its image again.
# yamllint disable rule:line-length
service_pins:
"""


def pins_of(pins: object) -> dict[tuple[str, str], str]:
    """Return (host, service) -> image; raise SiteError for an entry that is none."""
    found, entries = {}, pins if isinstance(pins, list) else [pins] if pins else []
    for entry in entries:
        pin: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {}
        if not {"host", "service", "image"} <= pin.keys() or not is_exact_image(pin["image"]):
            raise SiteError(
                f"service_pins {entry!r}: must have host, service, and as image name:tag; correct the line "
                f"in {PINS_FILE}, or delete it"
            )
        found[str(pin["host"]), str(pin["service"])] = str(pin["image"])
    return found


def with_pins(pins: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the pins with new ones, each of which replaces that of the same service and host."""
    found = {(pin["host"], pin["service"]): dict(pin) for pin in (*pins, *new)}
    return [*found.values()]


def text_of(pins: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of the file of pins."""
    # Texts of Ansible are of types of its own.
    plain = [{str(key): str(value) for key, value in pin.items()} for pin in pins]
    lines = [yaml.safe_dump(pin, default_flow_style=True, width=1000) for pin in plain]
    return HEAD + "".join(f"  - {line}" for line in lines)


def pinned(nodes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield (node, service, warning) for every service that runs another image than its own."""
    for node in nodes:
        for service, entry in node["services"].items():
            if "pinned_from" in entry:
                yield (
                    node["name"],
                    service,
                    f"keeps image {entry['image']} since its rollback, instead of {entry['pinned_from']}; to "
                    f"change it again, delete its line in {PINS_FILE} and run site.yml",
                )
