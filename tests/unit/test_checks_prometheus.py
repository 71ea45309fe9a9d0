"""The check of Prometheus: targets, rules, and who hears of alerts."""

from typing import Any

import pytest
from a_kit import ScriptedKit, check_of, in_turn, site
from aicluster_verify import CheckError

check = check_of("prometheus")
PI41 = {
    "name": "PI41",
    "address": "10.0.0.4",
    "services": {"alertmanager": {"ports": {"web": 9093}}, "blackbox_exporter": {}},
}


def target(job: str, health: str = "up", seen: str = "t1", error: str = "", **labels: str) -> dict[str, Any]:
    return {
        "labels": {"job": job, "service": job, "node": "PI52", **labels},
        "scrapePool": job,
        "scrapeUrl": f"http://10.0.0.2/{job}/{labels.get('instance', '')}",
        "health": health,
        "lastScrape": seen,
        "lastError": error,
    }


RULE = {"name": "Watchdog", "health": "ok"}
GOOD: dict[str, Any] = {
    "targets": [[target("kong"), target("probe")]],
    "query": [[]],
    "rules": [[{"rules": [RULE, {"name": "NodeDown", "health": "unknown"}]}]],
    "alertmanagers": [[{"url": "http://10.0.0.4:9093/api/v2/alerts"}]],
}
KEYS = {
    "targets": "activeTargets",
    "query": "result",
    "rules": "groups",
    "alertmanagers": "activeAlertmanagers",
}


def kit_of(**pages: Any) -> ScriptedKit:
    """Answers of Prometheus' API: per page a list, whose last element stays."""
    answers = {
        f"GET /api/v1/{name}": in_turn(
            *((200, {"status": "success", "data": {KEYS[name]: found}}) for found in said)
        )
        for name, said in {**GOOD, **pages}.items()
    }
    return ScriptedKit(site("PI51", {"prometheus": {"web": 9090}}, [PI41]), answers)


def test_a_target_that_is_down_is_named_with_its_error():
    down = [target("kong", "down", "t2", "connection refused"), target("probe")]
    with pytest.raises(CheckError) as failure:
        check.check(kit_of(targets=[[target("kong", "down", "t1"), target("probe")], down]))
    assert failure.value.evidence == "1 of 2 targets down: kong of PI52: connection refused"
    assert failure.value.next_command == "curl -v 'http://10.0.0.2/kong/'"
    assert failure.value.caused_by == ["kong on PI52"]


def test_a_target_that_came_back_since_the_last_look_is_healthy():
    before, after = target("kong", "down", "t1", "refused"), target("kong", "up", "t2")
    kit = kit_of(targets=[[before], [before], [after]])
    assert check.check(kit).startswith("1 targets")
    assert kit.waited


def test_a_target_that_was_never_looked_at_is_not_called_healthy():
    found = check.check(kit_of(targets=[[target("kong"), target("scanner", "unknown")]]))
    assert found.startswith("1 targets of 2 jobs up, 1 not asked yet")


def test_an_inactive_service_is_not_missed():
    inactive = target("scanner", "down", "t1", "refused", profile="scanning")
    assert check.check(kit_of(targets=[[target("kong"), inactive]])).startswith("1 targets of 1 jobs up")


def test_many_probes_through_one_dead_exporter_are_one_trouble():
    probes = [target("ping", "down", "t1", "refused", instance=str(n)) for n in range(9)]
    with pytest.raises(CheckError) as failure:
        check.check(kit_of(targets=[probes]))
    assert failure.value.evidence == "9 of 9 targets down: 9 probes through blackbox_exporter: refused"
    assert failure.value.caused_by == ["blackbox_exporter on PI41"]
    exporter = target("blackbox_exporter", "down", "t1", "refused")
    with pytest.raises(CheckError) as failure:
        check.check(kit_of(targets=[[*probes, exporter]]))
    assert failure.value.evidence == "10 of 10 targets down: blackbox_exporter of PI52: refused"


FAILED: dict[str, tuple[Any, ...]] = {
    "no rules": ({"rules": [[]]}, "has no rules"),
    "a rule that cannot be evaluated": (
        {"rules": [[{"rules": [RULE, {"name": "Bad", "health": "err", "lastError": "many-to-many"}]}]]},
        "rule Bad: many-to-many"),
    "nobody to tell": ({"alertmanagers": [[]]}, "does not know the Alertmanager on PI41 .10.0.0.4:9093."),
    "a page without a metric": ({"query": [[{"metric": {"job": "kong", "instance": "10.0.0.1:8100"}}]]},
        "no metric from kong at 10.0.0.1:8100"),
}  # fmt: skip


@pytest.mark.parametrize(("pages", "evidence"), FAILED.values(), ids=FAILED)
def test_what_is_wrong_is_said(pages, evidence):
    with pytest.raises(CheckError, match=evidence):
        check.check(kit_of(**pages))
