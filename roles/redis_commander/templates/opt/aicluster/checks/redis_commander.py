"""The page has a connection to each Redis, and its INFO."""

import json

from aicluster_verify import CheckError, Kit

SETTINGS = "local-production.json"


def check(kit: Kit) -> str:
    """Compare the connections with those of the file the page was given; each answers."""
    settings = json.loads(kit.secret("redis_commander", SETTINGS))
    wanted = {"%s:%s" % (each["host"], each["port"]) for each in settings["connections"]}
    if not wanted:
        raise CheckError("no Redis is open to this node: see `from` of its port in group_vars")
    listed = kit.expect(kit.url("redis_commander", "web", "/connections")).json()["connections"]
    missing = wanted - {"%s:%s" % (each["options"]["host"], each["options"]["port"]) for each in listed}
    if missing:
        raise CheckError("connections missing: %s" % ", ".join(sorted(missing)))

    answers = kit.expect(kit.url("redis_commander", "web", "/apiv2/server/info")).json()["data"]
    silent = wanted - {"%s:%s" % (each["host"], each["port"]) for each in answers if each.get("info")}
    if silent:
        raise CheckError("no answer from Redis at %s" % ", ".join(sorted(silent)))
    return "%d Redis answering" % len(wanted)
