"""The page shows nothing without a login, and to operators the INFO of each Redis."""

import json
from urllib.parse import urlencode

from aicluster_verify import CheckError, Kit

SETTINGS = "local-production.json"


def check(kit: Kit) -> str:
    """User, password and connections are those of the file the page was given."""
    settings = json.loads(kit.secret("redis_commander", SETTINGS))
    kit.expect(kit.url("redis_commander", "web", "/connections"), status=401)

    user = settings["server"]["httpAuth"]
    form = urlencode({"username": user["username"], "password": user["password"]})
    signed_in = kit.expect(kit.url("redis_commander", "web", "/signin"), method="POST", data=form).json()
    if not signed_in.get("ok"):
        raise CheckError("refuses the password of its secret file")
    login = {"Authorization": "Bearer %s" % signed_in["bearerToken"]}

    wanted = {"%s:%s" % (each["host"], each["port"]) for each in settings["connections"]}
    if not wanted:
        raise CheckError("no Redis is open to this node: see `from` of its port in group_vars")
    listed = kit.expect(kit.url("redis_commander", "web", "/connections"), headers=login).json()[
        "connections"
    ]
    missing = wanted - {"%s:%s" % (each["options"]["host"], each["options"]["port"]) for each in listed}
    if missing:
        raise CheckError("connections missing: %s" % ", ".join(sorted(missing)))

    answers = kit.expect(kit.url("redis_commander", "web", "/apiv2/server/info"), headers=login).json()[
        "data"
    ]
    silent = wanted - {"%s:%s" % (each["host"], each["port"]) for each in answers if each.get("info")}
    if silent:
        raise CheckError("no answer from Redis at %s" % ", ".join(sorted(silent)))
    return "strangers refused, operator signed in, %d Redis answering" % len(wanted)
