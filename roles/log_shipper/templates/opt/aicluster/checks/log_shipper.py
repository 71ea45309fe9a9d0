"""The journal is being sent: whether the lines arrive is asked by the check of the log store."""

from aicluster_verify import Kit


def check(kit: Kit) -> str:
    """Return how long the unit, which is active when this is asked, has been so without a failure."""
    since = kit.run(["systemctl", "show", "--property", "ActiveEnterTimestamp", "systemd-journal-upload"])
    return "sends without a failure since " + since.strip().partition("=")[2]
