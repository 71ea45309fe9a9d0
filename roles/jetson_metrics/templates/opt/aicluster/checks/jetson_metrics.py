"""GPU, temperatures and power of a Jetson are fresh, and node_exporter hands them out."""

import os
import time

from aicluster_verify import CheckError, Kit

RELEASE = "/etc/nv_tegra_release"
FRESH_S = 120
LOOK = "journalctl -u aicluster-jetson -n 20"
# What the board shows -> its metric; not every board has each of them.
PARTS = {
    "load": "jetson_gpu_load_ratio",
    "clock": "jetson_gpu_frequency_hertz",
    "temperature": "jetson_temperature_celsius",
    "power": "jetson_power_watts",
}


def check(kit: Kit) -> str:
    """Ask node_exporter, not the file: that is what Prometheus sees."""
    lines = kit.expect(kit.url("node_exporter", "metrics", "/metrics")).text.splitlines()
    values = [line for line in lines if line.startswith("jetson_")]
    seen = [line for line in values if line.startswith("jetson_collector_seen_timestamp_seconds")]
    if not seen:
        raise CheckError("node_exporter has no metrics of the board", LOOK)
    age = time.time() - float(seen[0].split()[-1])
    if age > FRESH_S:
        raise CheckError("the board was last read %d s ago" % age, LOOK)
    counts = {part: sum(line.startswith(name) for line in values) for part, name in PARTS.items()}
    shown = ["%d of %s" % (count, part) for part, count in counts.items() if count]
    missing = [part for part, count in counts.items() if not count]
    if not os.path.exists(RELEASE):
        return "this machine is no Jetson, and its metrics say so"
    if not shown:
        raise CheckError(
            "a Jetson, and neither GPU nor temperatures nor power could be read below /sys",
            "ls /sys/class/devfreq /sys/devices/virtual/thermal /sys/class/hwmon",
        )
    return "values: %s%s" % (", ".join(shown), "; none of %s" % ", ".join(missing) if missing else "")
