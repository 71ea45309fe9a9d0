"""The files of services, what the site overrides, and the lists that place them."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..engine.declared import problems as declared_problems
from ..site.catalogue import file_of, merged, problems
from ..site.placement import PLACEMENTS, items
from ..site.rules import is_names, shown, suggestion
from .nodes import NODE_RULES
from .subjects import OVERRIDES_FILE, TIER_FILE, Site, label, place_of


def catalogue_errors(site: Site) -> Iterator[str]:
    """Yield what is wrong in the files of services, placed anywhere or not, and in the site's overrides."""
    services, overrides, tiers = site["services"], site["overrides"], site["vocabulary"]["tiers"]
    unreadable = site["unreadable"].get("site", {})
    for service, entry in services.items():
        yield from problems(f"service {service}", entry, file_of(service), tiers)
        yield from declared_problems(service, site["declared"].get(service, {}), templates=True)
    if not isinstance(overrides, Mapping):
        value = unreadable.get("service_overrides", shown(overrides))
        yield (
            f"service_overrides {value}: must be a mapping from service to what differs, `{{}}` for none; "
            f"correct it in {OVERRIDES_FILE}"
        )
        return
    for service, changes in overrides.items():
        if service not in services:
            fix = suggestion(service, services)
            yield f"service_overrides {service}: is not in the service catalogue; {fix} in {OVERRIDES_FILE}"
        elif isinstance(services[service], Mapping):
            subject = f"service_overrides of {service}"
            yield from problems(subject, changes, OVERRIDES_FILE, tiers, services[service])
    if site["catalogue"] != merged(services, overrides):
        yield (
            f"service_catalogue {unreadable.get('service_catalogue', 'set elsewhere')}: must be what the "
            "services' folders and service_overrides make together; take it off there and write what differs "
            f"as service_overrides in {OVERRIDES_FILE}"
        )


def all_placed(variables: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the (service, overrides) of all lists of one node that can be read."""
    return [item for name in PLACEMENTS for item in items(variables.get(name)) or []]


def profile_errors(site: Site) -> Iterator[str]:
    """Yield profiles that name what is no service, and a first profile in which nothing runs.

    A service of the catalogue that is placed elsewhere may be named: moving it takes one line, not two.
    """
    known = list(map(str, site["catalogue"])) if isinstance(site["catalogue"], Mapping) else []
    for host, variables in site["hosts"].items():
        profiles, first = variables.get("node_profiles") or {}, variables.get("node_profile")
        if not (isinstance(profiles, Mapping) and all(map(is_names, profiles.values()))):
            continue
        place, node = place_of(site, host, TIER_FILE), label(site, host)
        here = [service for service, _ in all_placed(variables)]
        for profile, services in profiles.items():
            for service in services:
                if known and service not in known:
                    yield (
                        f"node_profiles of {node} {profile} names {shown(service)}: must be a service; "
                        f"{suggestion(service, known)} in {place}"
                    )
        usable = [str(profile) for profile, services in profiles.items() if set(services) & set(here)]
        if usable and first not in usable:
            yield (
                f"node_profile of {node} {shown(first)}: must be the profile that a new node starts with; "
                f"{suggestion(first, usable)} in {place}"
            )


def placement_errors(site: Site) -> Iterator[str]:
    """Yield what is wrong with the lists of services: shape, unknown or repeated one, no role, overrides."""
    catalogue = site["catalogue"]
    if not isinstance(catalogue, Mapping):
        return
    for host, variables in site["hosts"].items():
        places = {name: place_of(site, host, NODE_RULES[name].where) for name in PLACEMENTS}
        unusable = [name for name in PLACEMENTS if items(variables.get(name)) is None]
        for name in unusable:
            yield (
                f"{name} of {label(site, host)} {shown(variables[name])}: each item must be a name or "
                f"one `name: {{overrides}}`; correct it in {places[name]}"
            )
        if unusable:
            continue
        placed = [(places[name], *item) for name in PLACEMENTS for item in items(variables.get(name)) or []]
        listed: dict[str, list[str]] = {}
        for place, service, _ in placed:
            listed.setdefault(service, []).append(place)
        for service, where in listed.items():
            subject = f"service {service} on {label(site, host)}"
            if len(where) > 1:
                others = " and ".join(dict.fromkeys(where))
                yield f"{subject} {len(where)} times: must be listed once; remove the others in {others}"
            if service not in catalogue:
                yield (
                    f"{subject}: is not in the service catalogue; {suggestion(service, map(str, catalogue))} "
                    f"in {where[0]}, or describe it in {file_of(service)}"
                )
        for place, service, overrides in placed:
            if isinstance(catalogue.get(service), Mapping):
                subject = f"override of {service} on {label(site, host)}"
                tiers = site["vocabulary"]["tiers"]
                yield from problems(subject, overrides, place, tiers, catalogue[service])
