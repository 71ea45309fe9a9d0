"""What a server lacks of its models and aliases. `tags`: {normalised name: digest} of what it has."""

from .names import name_on, normalise, public_address


def to_remove(tags, models, mirrors):
    """Return the unwanted models, and names below a mirror that a killed process left."""
    there = [model for model in models if normalise(model["name"]) in tags]
    unwanted = [model["name"] for model in there if model.get("state") == "absent"]
    public = [model["name"] for model in there if public_address(model["name"])]
    copies = [name_on(mirror, name) for name in public for mirror in mirrors]
    return unwanted + [name for name in copies if normalise(name) in tags]


def to_pull(tags, models, aliases):
    """Return the missing models, those behind aliases first: they are asked for most."""
    behind = {normalise(target) for target in aliases.values()}
    missing = [m for m in models if m.get("state") != "absent" and normalise(m["name"]) not in tags]
    return sorted(missing, key=lambda model: normalise(model["name"]) not in behind)


def to_alias(tags, aliases):
    """Return the (alias, model) pairs whose digests differ."""
    return [
        (alias, target)
        for alias, target in sorted(aliases.items())
        if normalise(target) not in tags or tags.get(normalise(alias)) != tags[normalise(target)]
    ]


def predict(tags, models, aliases, mirrors):
    """Return what a run would do, as its result lists it."""
    return {
        "removed": to_remove(tags, models, mirrors),
        "pulled": [model["name"] for model in to_pull(tags, models, aliases)],
        "aliased": ["%s -> %s" % pair for pair in to_alias(tags, aliases)],
    }
