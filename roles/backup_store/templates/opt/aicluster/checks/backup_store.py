"""Strangers are refused, nobody can delete anything, and every repository was checked without an error."""

import base64
import json
import time
from typing import Dict, Optional

from aicluster_verify import CheckError, Kit

STATE = "/var/lib/aicluster/backup_store.json"
TIMER = "aicluster-backup-store.timer"
JOURNAL = "journalctl -u aicluster-backup-store --lines 50"
# Checked every night, after a backup that still runs.
CHECKED_S = 50 * 3600
# A user of the store that no node has, and who stores nothing.
USER = ".verify"


def check(kit: Kit) -> str:
    """Try what must be refused, and read what the last night found."""
    password = kit.secret("backup_store", "verify")
    for said, method, path, status in (
        (None, "GET", "/%s/config" % USER, 401),
        ("another password", "GET", "/%s/config" % USER, 401),
        (password, "GET", "/%s/config" % USER, 404),
        (password, "GET", "/another/config", 401),
        # Refused before anybody looks whether it is there.
        (password, "DELETE", "/%s/data/%s" % (USER, "0" * 64), 403),
    ):
        kit.expect(kit.url("backup_store", "rest", path), status, method, headers=login(said))
    kit.run(["systemctl", "is-active", TIMER])
    return "strangers refused, nothing can be deleted; %s" % checked()


def login(password: Optional[str]) -> Dict[str, str]:
    """Return the headers of a request, None for one without a login."""
    if password is None:
        return {}
    pair = base64.b64encode(("%s:%s" % (USER, password)).encode()).decode()
    return {"Authorization": "Basic " + pair}


def checked() -> str:
    """Return how the repositories were at their last check; raise CheckError for one that is not sound."""
    try:
        with open(STATE) as handle:
            state = json.load(handle)
    except FileNotFoundError:
        state = {}
    for node, known in sorted(state.items()):
        if known["error"]:
            raise CheckError("copies of %s: %s" % (node, known["error"]), JOURNAL)
    times = [known["checked"] for known in state.values() if "checked" in known]
    if not times:
        return "no repository was checked yet"
    age = time.time() - min(times)
    if age > CHECKED_S:
        raise CheckError("a repository was last checked %d hours ago" % (age / 3600), JOURNAL)
    return "%d repositories are sound, checked within %d hours" % (len(times), age / 3600 + 1)
