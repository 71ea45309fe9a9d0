"""systemd units."""

from . import system

ENABLED = ("enabled", "enabled-runtime", "static", "alias", "indirect")


def deviating_units(wanted):
    """Return [{name, why}] for units that do not run or are not enabled.

    A unit with `boot` works when the node starts and at no other time: it does not have to run.
    """
    if not wanted:
        return []
    names = [unit["name"] for unit in wanted]
    listing = system.run(["systemctl", "show", "-p", "Id,ActiveState,UnitFileState,LoadState"] + names)
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in listing.split("\n\n")
    ]
    by_name = dict(zip(names, blocks))
    compared = [(unit["name"], deviations(unit, by_name.get(unit["name"], {}))) for unit in wanted]
    return [{"name": name, "why": ", ".join(why)} for name, why in compared if why]


def deviations(unit, found):
    """Return how a unit differs from what is wanted; `found` is what systemd shows of it."""
    why = []
    if found.get("LoadState", "not-found") == "not-found":
        why.append("not there")
    elif found.get("UnitFileState") not in ENABLED:
        why.append(found.get("UnitFileState") or "unknown")
    # A unit that waits for another node keeps trying to start, as intended.
    healthy = ("active", "activating") if unit.get("waits") else ("active",)
    if not unit.get("boot") and found.get("ActiveState") not in healthy:
        why.append(found.get("ActiveState") or "inactive")
    return why


def forget_starts(units):
    """Have systemd not count our restarts: after three in a minute it would not start the engine again."""
    names = []
    for unit in units:
        names += [unit] if "." in unit else [unit + ".service", unit + ".socket"]
    if names:
        system.run(["systemctl", "reset-failed"] + names)
