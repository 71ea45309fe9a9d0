"""Strangers are refused, nobody can delete, every repository was checked, and its copies were restored."""

import base64
import time
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

from aicluster_backup_tools import load
from aicluster_verify import CheckError, Kit

STATE = "/var/lib/aicluster/backup_store.json"
TIMER = "aicluster-backup-store.timer"
JOURNAL = "journalctl -u aicluster-backup-store --lines 50"
# Checked every night, after a backup that still runs.
CHECKED_S = 50 * 3600
DRILLS = "/opt/aicluster/backup_store/drills.json"
DRILL_STATE = "/var/lib/aicluster/drill.json"
DRILL = "sudo systemctl start aicluster-drill"
PROVEN_S = 48 * 3600
OFFSITE_PLAN = "/opt/aicluster/backup_store/secrets/offsite"
OFFSITE_STATE = "/var/lib/aicluster/offsite.json"
OFFSITE = "sudo systemctl start aicluster-offsite"
OFFSITE_S = 50 * 3600
# A user of the store that no node has, and who stores nothing.
USER = ".verify"


def check(kit: Kit) -> Union[str, Tuple[str, str]]:
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
    seen, lacks = ["strangers refused, nothing can be deleted; %s" % checked()], []  # type: List[str], List[str]
    sources, wanted = load(OFFSITE_PLAN, {}).get("sources", ()), load(DRILLS, [])
    if wanted:
        kit.run(["systemctl", "is-active", "aicluster-drill.timer"])
    for (told, never), what, fix in (
        (off_site(sources, load(OFFSITE_STATE, {})), "copied off site", OFFSITE),
        (drilled(wanted, load(DRILL_STATE, {}).get("drills", [])), "restored", DRILL),
    ):
        seen += told
        lacks += ["never %s: %s; `%s` does it" % (what, ", ".join(never), fix)] if never else []
    return ("; ".join(seen), "; ".join(lacks)) if lacks else "; ".join(seen)


def login(password: Optional[str]) -> Dict[str, str]:
    """Return the headers of a request, None for one without a login."""
    if password is None:
        return {}
    pair = base64.b64encode(("%s:%s" % (USER, password)).encode()).decode()
    return {"Authorization": "Basic " + pair}


def off_site(sources: Iterable[str], state: Dict[str, Any]) -> Tuple[List[str], List[str]]:
    """Return a sentence about what is off site, and what never was; raise CheckError for failures."""
    known = {name: state.get(name, {}) for name in sources}
    journal = "journalctl -u aicluster-offsite --lines 50"
    for name, one in sorted(known.items()):
        if one.get("error"):
            raise CheckError("copy of %s off site: %s" % (name, one["error"]), journal)
    times = {name: one["newest"] for name, one in known.items() if "newest" in one}
    old = [name for name, newest in sorted(times.items()) if time.time() - newest > OFFSITE_S]
    if old:
        raise CheckError("more than two nights behind off site: %s" % ", ".join(old), OFFSITE)
    age = (time.time() - min(times.values(), default=0)) / 3600
    told = ["copies of %d are off site, the oldest %d hours old" % (len(times), age)] if times else []
    return told, sorted(known.keys() - times.keys())


def drilled(wanted: List[Dict[str, Any]], known: List[Dict[str, Any]]) -> Tuple[List[str], List[str]]:
    """Return a sentence about the last drills, and jobs that had none; raise CheckError if one failed."""
    journal = "journalctl -u aicluster-drill --lines 50"
    records = {(one["node"], one["job"]): one for one in known}
    last, never = [], []  # type: Tuple[List[Dict[str, Any]], List[str]]
    for one in wanted:
        name, record = "%s of %s" % (one["job"], one["node"]), records.get((one["node"], one["job"]), {})
        if record.get("error"):
            raise CheckError("restore of %s: %s" % (name, record["error"]), journal)
        if not record.get("copies"):
            never.append(name)
            continue
        newest = max(record["copies"].values(), key=lambda copy: copy["at"])
        age = time.time() - newest["at"]
        if age > PROVEN_S:
            raise CheckError("%s was last restored %d hours ago" % (name, age / 3600), DRILL)
        last.append(newest)
    if not last:
        return [], never
    text = "%d jobs restored within %d hours, the slowest in %d s, of data up to %d hours old"
    oldest = (time.time() - min(copy["at"] for copy in last)) / 3600
    age = max(copy["age_seconds"] for copy in last) / 3600
    return [text % (len(last), oldest + 1, max(copy["seconds"] for copy in last), age + 1)], never


def checked() -> str:
    """Return how the repositories were at their last check; raise CheckError for one that is not sound."""
    state = load(STATE, {})
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
