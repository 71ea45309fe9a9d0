"""The metrics of the containers are fresh, and node_exporter hands them out."""

import time

from aicluster_verify import CheckError, Kit

FRESH_S = 120


def check(kit: Kit) -> str:
    """Ask node_exporter, not the file: that is what Prometheus sees."""
    lines = kit.expect(kit.url("node_exporter", "metrics", "/metrics")).text.splitlines()
    seen = [line for line in lines if line.startswith("aicluster_containers_seen_timestamp_seconds")]
    if not seen:
        raise CheckError(
            "node_exporter has no metrics of the containers", "systemctl status aicluster-containers"
        )
    age = time.time() - float(seen[0].split()[-1])
    if age > FRESH_S:
        raise CheckError(
            "the containers were last read %d s ago" % age, "systemctl status aicluster-containers"
        )
    states = {line for line in lines if line.startswith("aicluster_service_state{")}
    missing = [name for name in kit.services if not any('name="%s"' % name in line for line in states)]
    if missing:
        raise CheckError("no state of %s" % ", ".join(missing), "systemctl status aicluster-containers")
    return "state of %d services, %d s old" % (len(kit.services), age)
