"""The journal is being sent: systemd-journal-upload runs, and not only for a moment between two failures."""

from typing import Dict

from aicluster_verify import Broken, Kit

UNIT = "systemd-journal-upload.service"
SHOWN = ["ActiveState", "SubState", "Result"]


def state(kit: Kit) -> Dict[str, str]:
    """Return what systemd says of the unit."""
    shown = kit.run(["systemctl", "show", "-p", ",".join(SHOWN), UNIT])
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def check(kit: Kit) -> str:
    """Whether the lines arrive is asked by the check of the log store."""
    try:
        kit.wait(20, lambda: state(kit)["ActiveState"] == "active", "not active")
    except Broken:
        found = state(kit)
        said = kit.run(["journalctl", "--unit", UNIT, "--lines", "20", "--output", "cat", "--no-pager"])
        failures = [line for line in said.splitlines() if line.startswith("Upload to ")]
        raise Broken(
            "%s is %s (%s): %s"
            % (UNIT, found["ActiveState"], found["SubState"], (failures or said.splitlines() or [""])[-1]),
            "systemctl status " + UNIT,
        ) from None
    return "systemd-journal-upload is active"
