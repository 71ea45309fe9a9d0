"""MinIO's client, as far as the role's scripts use it: remembers users, policies and buckets in a file.

Run as `mc`; FAKE_MC names the file. The arguments of every call are kept: a test looks for secrets in them.
Like the real store it gives the words of a policy in another order each time: that of a set in this process.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

EMPTY: dict[str, Any] = {"calls": [], "buckets": [], "policies": {"readwrite": {}}, "users": {}}
ROOT = ["aicluster", "made-up-minio-root-password"]


def require(holds: object) -> None:
    """End as the client does when the store refuses."""
    if not holds:
        sys.exit("mc: <ERROR> refused")


def shuffled(policy: dict[str, Any]) -> dict[str, Any]:
    statements = [
        {key: list(set(value)) if isinstance(value, list) else value for key, value in one.items()}
        for one in policy.get("Statement", [])
    ]
    return {**policy, "Statement": statements}


def run_policy(policies: dict[str, Any], users: dict[str, Any], words: list[str]) -> None:
    match words:
        case ["create", "root", name, path]:
            policies[name] = json.loads(Path(path).read_text())
        case ["info", "root", name, "--policy-file", path]:
            require(name in policies)
            Path(path).write_text(json.dumps(shuffled(policies[name]), indent=1))
        case ["remove", "root", name]:
            require(not any(name in user["policies"] for user in users.values()))
            del policies[name]
        case ["attach", "root", policy, "--user", name]:
            require(policy in policies and policy not in users[name]["policies"])
            users[name]["policies"].append(policy)
        case ["detach", "root", policy, "--user", name]:
            users[name]["policies"].remove(policy)
        case ["list", "root"]:
            for name in policies:
                print(json.dumps({"policy": name, "isGroup": False}))


def run(state: dict[str, Any], words: list[str]) -> None:
    users, policies, buckets = state["users"], state["policies"], state["buckets"]
    match words:
        case ["alias", "set", _, _]:
            name, secret = sys.stdin.read().splitlines()
            known = users.get(name, {"secret": None, "enabled": False})
            require([name, secret] == ROOT or (known["secret"] == secret and known["enabled"]))
        case ["stat", path]:
            require(path.removeprefix("root/") in buckets)
        case ["mb", path]:
            buckets.append(path.removeprefix("root/"))
        case ["admin", "user", "info", "root", name]:
            require(name in users)
            print(json.dumps({"accessKey": name, "policyName": ",".join(users[name]["policies"])}))
        case ["admin", "user", "add", "root", name]:
            secret = sys.stdin.readline().rstrip("\n")
            users[name] = {"policies": [], **users.get(name, {}), "secret": secret, "enabled": True}
        case ["admin", "user", "remove", "root", name]:
            del users[name]
        case ["admin", "policy", *rest]:
            run_policy(policies, users, rest)
        case _:
            sys.exit(f"no such command: {words}")


if __name__ == "__main__":
    file = Path(os.environ["FAKE_MC"])
    now = json.loads(file.read_text())
    now["calls"].append(sys.argv[1:])
    try:
        run(now, [word for word in sys.argv[1:] if word != "--json"])
    finally:
        file.write_text(json.dumps(now))
