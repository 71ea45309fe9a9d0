"""The check of the backups: what is good, what somebody should know, and what has failed."""

import json
import time
from typing import Any

import pytest
from a_kit import ScriptedKit, check_of, failure_of, site

backup = check_of("backup")
HOUR, NOW = 3600, time.time()
JOURNAL, AGAIN = "sudo journalctl -u aicluster-backup -n 50", "sudo systemctl start aicluster-backup"
CLUSTER: list[dict[str, Any]] = [
    {"name": name, "services": {"backup_store": {}}} for name in ("AGX0", "ORIN0")
]


@pytest.fixture(autouse=True)
def now(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW)


def copy(number: int = 1, age_h: float | None = 2, **more: Any) -> dict[str, Any]:
    """A copy of postgres; without an age it was never made."""
    made = {} if age_h is None else {"success_at": NOW - age_h * HOUR, "size_bytes": 3 << 20, "exit_code": 0}
    return {"job": "postgres", "copy": number, "store": ["AGX0", "ORIN0"][number - 1], **made, **more}


def kit(*copies: dict[str, Any], running: Any = None) -> ScriptedKit:
    said = json.dumps({"node": "PI52", "running": running, "copies": copies})
    return ScriptedKit(site("PI52", {}, CLUSTER), commands={"python3 */aicluster_backup.py status": said})


GOOD: dict[str, tuple[Any, Any]] = {
    "both copies are of the last night": (kit(copy(), copy(2, age_h=3)),
        "2 of 2 copies in AGX0, ORIN0, the oldest 3.0 h old, 3 MiB"),
    "one is being made": (kit(copy(), running={"pid": 1}),
        "1 of 1 copies in AGX0, the oldest 2.0 h old, 3 MiB, one is being made"),
    "never backed up is a warning": (kit(copy(age_h=None)),
        ("0 of 1 copies in AGX0", f"never backed up: postgres to AGX0; `{AGAIN}` does it")),
    "a node that keeps nothing": (kit(), "this node keeps nothing"),
}  # fmt: skip


@pytest.mark.parametrize(("kit", "seen"), GOOD.values(), ids=GOOD)
def test_what_is_healthy(kit, seen):
    assert backup.check(kit) == seen


BAD: dict[str, tuple[Any, str, str, list[str]]] = {
    "the last try failed, however young the copy": (
        kit(copy(), copy(2, exit_code=1, error="disk full")),
        "postgres to ORIN0: disk full", JOURNAL, ["backup_store on ORIN0"]),
    "the first try failed": (
        kit(copy(age_h=None, exit_code=12, error="wrong password")),
        "postgres to AGX0: wrong password", JOURNAL, ["backup_store on AGX0"]),
    "a copy is older than 26 hours": (
        kit(copy(age_h=27), copy(2)), "postgres to AGX0: the last copy is 27 h old", AGAIN, []),
    "a copy is of the future": (
        kit(copy(age_h=-5)), "the last copy is of the future: postgres to AGX0", f"timedatectl; {AGAIN}", []),
}  # fmt: skip


@pytest.mark.parametrize(("kit", "evidence", "next_command", "causes"), BAD.values(), ids=BAD)
def test_what_has_failed(kit, evidence, next_command, causes):
    failure = failure_of(backup.check, kit)
    assert (failure.evidence, failure.next_command, failure.caused_by) == (evidence, next_command, causes)
