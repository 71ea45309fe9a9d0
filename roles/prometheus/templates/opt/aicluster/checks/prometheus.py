"""Prometheus: every configured target is up with metrics, rules evaluate, Alertmanager is reached."""

import urllib.parse
from typing import Any, Dict, List, Tuple

from aicluster_verify import CheckError, Kit

FLOWS = {"metrics": "every target is up and returns its metrics"}
# Nearly every target is looked at once a minute or more often.
NEXT_LOOK_S = 65
# Targets and Alertmanagers are known some seconds after Prometheus has started.
DISCOVERY_S = 15
NAMED_AT_MOST = 5
PROBER, PROBES = "blackbox_exporter", ("probe", "ping")
Target = Dict[str, Any]


def api(kit: Kit, path: str) -> Any:
    """Return `data` of an answer of Prometheus' API."""
    answer = kit.expect(kit.url("prometheus", "web", "/api/v1/" + path)).json()
    if answer.get("status") != "success":
        raise CheckError("/api/v1/%s: %s" % (path, answer.get("error", answer)))
    return answer["data"]


def key(target: Target) -> Tuple[str, str]:
    """Return what tells a target from any other."""
    return target["scrapePool"], target["scrapeUrl"]


def expected(kit: Kit) -> List[Target]:
    """Return the targets that are to be up: not those of services that only run in some profiles."""
    targets = api(kit, "targets?state=active")["activeTargets"]
    return [one for one in targets if "profile" not in one["labels"]]


def looked_at_again(kit: Kit) -> List[Target]:
    """Return the targets once each that is not up was looked at anew, or after a while.

    What was down at the last look may have come back since; what was never looked at is not known.
    """
    known = kit.wait(DISCOVERY_S, lambda: expected(kit), "has no target: is its configuration empty?")
    before = {key(one): one["lastScrape"] for one in known}

    def all_checked() -> bool:
        return all(
            one["health"] == "up" or one["lastScrape"] != before.get(key(one)) for one in expected(kit)
        )

    try:
        kit.wait(NEXT_LOOK_S, all_checked, "some targets are asked less often")
    except CheckError:
        return expected(kit)  # as they were at the last look
    return expected(kit)


def named(target: Target) -> str:
    """Return a target and what is wrong with it, for people."""
    labels = target["labels"]
    what = labels.get("service") or labels["job"]
    return "%s of %s: %s" % (what, labels.get("node", "?"), target.get("lastError") or target["health"])


def troubles(down: List[Target]) -> List[str]:
    """Return what is wrong, for people: all probes go through one exporter, so they are one trouble."""
    found = [named(one) for one in down if one["labels"]["job"] not in PROBES]
    probes = [one for one in down if one["labels"]["job"] in PROBES]
    if probes and not any(one["labels"].get("service") == PROBER for one in down):
        found.append("%d probes through %s: %s" % (len(probes), PROBER, probes[0].get("lastError", "")))
    return found


def causes(kit: Kit, down: List[Target]) -> List[str]:
    """Return the possible causes: each target's own service, or the exporter all probes go through."""
    found = []  # type: List[str]
    for labels in [one["labels"] for one in down]:
        if labels["job"] in PROBES:
            found += kit.hosts(PROBER)
        elif "service" in labels and "node" in labels:
            found.append("%s on %s" % (labels["service"], labels["node"]))
    return sorted(set(found))


def require_up(kit: Kit, targets: List[Target]) -> None:
    """Raise CheckError naming the targets that are down, each with its last error."""
    down = [one for one in targets if one["health"] == "down"]
    if down:
        found = troubles(down)
        more = " and %d more" % (len(found) - NAMED_AT_MOST) if len(found) > NAMED_AT_MOST else ""
        raise CheckError(
            "%d of %d targets down: %s%s" % (len(down), len(targets), "; ".join(found[:NAMED_AT_MOST]), more),
            "curl -v '%s'" % down[0]["scrapeUrl"],
            causes(kit, down),
        )


def require_samples(kit: Kit) -> None:
    """Raise CheckError naming targets that answered, but with no metric at all."""
    query = urllib.parse.quote('scrape_samples_scraped == 0 and up{profile=""} == 1')
    empty = api(kit, "query?query=" + query)["result"]
    if empty:
        names = ["%(job)s at %(instance)s" % one["metric"] for one in empty]
        raise CheckError(
            "no metric from " + "; ".join(names[:NAMED_AT_MOST]),
            caused_by=causes(kit, [{"labels": one["metric"]} for one in empty]),
        )


def require_rules(kit: Kit) -> int:
    """Return the number of rules; raise CheckError if there are none, or one cannot be evaluated."""
    rules = [rule for group in api(kit, "rules")["groups"] for rule in group["rules"]]
    if not rules:
        raise CheckError("has no rules: nothing would ever raise an alert", "ansible-playbook site.yml")
    failing = [rule for rule in rules if rule["health"] == "err"]
    if failing:
        raise CheckError(
            "; ".join(
                "rule %s: %s" % (rule["name"], rule.get("lastError")) for rule in failing[:NAMED_AT_MOST]
            )
        )
    return len(rules)


def require_alertmanager(kit: Kit) -> int:
    """Return how many Alertmanagers get alerts; raise CheckError if the cluster has some and none does."""
    wanted = kit.endpoints("alertmanager", "web")

    def heard_by() -> int:
        return len(api(kit, "alertmanagers")["activeAlertmanagers"])

    if wanted:
        places = ", ".join("%s (%s)" % endpoint for endpoint in wanted)
        kit.wait(
            DISCOVERY_S, lambda: heard_by() >= len(wanted), "does not know the Alertmanager on " + places
        )
    return heard_by()


def check(kit: Kit) -> str:
    """Return how many targets are up, and how many rules watch them."""
    rules, heard_by = require_rules(kit), require_alertmanager(kit)
    targets = looked_at_again(kit)
    require_up(kit, targets)
    require_samples(kit)
    unknown = sum(one["health"] == "unknown" for one in targets)
    jobs = len({one["labels"]["job"] for one in targets})
    return "%d targets of %d jobs up%s, %d rules, heard by %d Alertmanager" % (
        len(targets) - unknown,
        jobs,
        ", %d not asked yet" % unknown if unknown else "",
        rules,
        heard_by,
    )
