#!/usr/bin/env python3
"""Tells Kong that a target is healthy which it goes on calling unhealthy although it answers.

Kong's own probes may stop to count (https://github.com/Kong/kong/issues/15001); then a node that is back gets
no requests until Kong is restarted. A timer starts this every minute. Python 3.6 is enough.
"""

import json
import sys
import time
from typing import Any, Dict, Iterable, List, Mapping, Tuple, cast

from aicluster_verify import ROOT, CheckError, Kit

OK = 200
# The image has no HTTP client but bash. Kong takes changes from within its container only.
TELL = (
    'exec 3<>/dev/tcp/127.0.0.1/8001 && printf "PUT %s HTTP/1.0\\r\\nContent-Length: 0\\r\\n\\r\\n" "$1" >&3 '
    "&& head -1 <&3"
)
Target = Tuple[str, str]


def wanted(path: str = ROOT + "/checks/kong.json") -> Dict[str, Any]:
    """Return what the site says of the gateway: upstreams (name -> path of a probe), looks, looks_every_s."""
    with open(path) as handle:
        return cast("Dict[str, Any]", json.load(handle))


def unhealthy(kit: Kit, upstreams: Iterable[str]) -> List[Target]:
    """Return (upstream, target) of what Kong sends nothing to."""
    found = []
    for upstream in upstreams:
        url = kit.url("kong", "status", "/upstreams/%s/health" % upstream)
        listed = kit.expect(url).json()["data"]
        found += [(upstream, one["target"]) for one in listed if one["health"] == "UNHEALTHY"]
    return found


def answers(kit: Kit, target: str, path: str) -> bool:
    """Tell whether a target answers as Kong's probe wants it to."""
    try:
        return kit.http("http://%s%s" % (target, path), timeout=3).status == OK
    except CheckError:
        return False


def stuck(kit: Kit, site: Mapping[str, Any]) -> List[Target]:
    """Return targets that Kong calls unhealthy, and that answer for longer than its probes need to see it."""
    paths = site["upstreams"]
    left = unhealthy(kit, paths)
    for _ in range(site["looks"]):
        left = [(upstream, target) for upstream, target in left if answers(kit, target, paths[upstream])]
        if not left:
            return []
        time.sleep(site["looks_every_s"])
    still = unhealthy(kit, paths)
    return [one for one in left if one in still]


def heal(kit: Kit, upstream: str, target: str) -> None:
    """Tell Kong that a target is healthy; its probes go on. Raises CheckError."""
    path = "/upstreams/%s/targets/%s/healthy" % (upstream, target)
    said = kit.execute("kong", ["bash", "-c", TELL, "bash", path])
    if " 204 " not in said:
        raise CheckError("Kong answers PUT %s with: %s" % (path, said.strip() or "nothing"))


def main() -> int:
    """Heal what is stuck; returns 1 if Kong does not take it."""
    with open(ROOT + "/verify.json") as handle:
        kit = Kit(json.load(handle), "targets")
    try:
        found = stuck(kit, wanted())
    except CheckError as error:
        # A Kong that is away has no health to be wrong about, and its own check tells that.
        print(error)
        return 0
    try:
        for upstream, target in found:
            heal(kit, upstream, target)
            print(
                "%s of %s answers, and Kong called it unhealthy: Kong is told otherwise" % (target, upstream)
            )
    except CheckError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
