"""The services of one node, as its placement lists name them."""

from collections.abc import Collection, Mapping
from typing import Any

from ..errors import SiteError
from .catalogue import merged
from .rules import is_text

# Lists of services a node runs: what every node has, what its tier brings, what this one has besides, and
# what its profiles need.
PLACEMENTS = ("node_common_services", "node_services", "node_own_services", "node_profile_services")


def items(services: object) -> list[tuple[str, Any]] | None:
    """Return the (service, overrides) of one list in order, or None if an item has neither allowed shape.

    An item is a service name, or a mapping with that name as its one key and the overrides as its value.
    """
    found: list[tuple[str, Any]] = []
    for item in services if isinstance(services, list) else []:
        if is_text(item):
            found.append((item, {}))
        elif isinstance(item, Mapping) and len(item) == 1:
            found.extend((str(name), {} if changes is None else changes) for name, changes in item.items())
        else:
            return None
    return found


def placement(node: str, hostvars: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return service name -> overrides for one node, in the order of `PLACEMENTS`.

    Raises SiteError for a list that cannot be read, and for a service that is listed twice; the preflight
    says more.
    """
    placed: dict[str, dict[str, Any]] = {}
    for name in PLACEMENTS:
        services = hostvars.get(name) or []
        found = items(services) if isinstance(services, list) else None
        if found is None or not all(isinstance(changes, Mapping) for _, changes in found):
            raise SiteError(
                f"{name} of {node} {services!r}: must be a list, and each item a name or one "
                "`name: {overrides}`; correct it in the inventory"
            )
        for service, overrides in found:
            if service in placed:
                raise SiteError(f"service {service} on {node}: must be listed once; remove the others")
            placed[service] = dict(overrides)
    return placed


def service_entry(
    entry: Mapping[str, Any], overrides: Mapping[str, Any], built_for: object
) -> dict[str, Any]:
    """Return a catalogue entry as one node has it.

    `built_for`: the architectures of a site's own builds (`site_image_architectures`); they count instead of
    the catalogue's, because images then come from the site's own mirror.
    """
    placed = merged(entry, overrides)
    return {**placed, "architectures": built_for} if built_for else placed


def profiles_here(profiles: object, services: Collection[str]) -> dict[str, list[str]]:
    """Return profile -> its services that are placed on the node, without profiles that would be empty."""
    if not isinstance(profiles, Mapping):
        return {}
    # Whatever is no list of names is for the preflight to report, so nothing here may raise: hence `[*...]`.
    lists = {profile: names for profile, names in profiles.items() if isinstance(names, list)}
    here = {profile: [one for one in names if one in [*services]] for profile, names in lists.items()}
    return {profile: names for profile, names in here.items() if names}
