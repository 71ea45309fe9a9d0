#!/usr/bin/env python3
"""Writes GPU, temperatures and power of a Jetson for node_exporter's textfile collector.

usage: aicluster_jetson.py INTERVAL_S

Only files of the kernel are read: neither tegrastats nor a program of NVIDIA's is started.
"""

import glob
import os
import sys
import time
from typing import Dict, List, Optional

from aicluster_textfile import Sample, hand_out, text

# Of Jetsons only.
RELEASE = "/etc/nv_tegra_release"
SYS = "/sys"
GPU_NAMES = ("gpu", "gv11b", "gp10b", "ga10b")
# Metric -> the files that may hold it, the likeliest first, and what one of their units is.
GPU = {
    "jetson_gpu_load_ratio": (
        [
            "devices/gpu.0/load",
            *("class/devfreq/*%s*/device/load" % name for name in GPU_NAMES),
            "devices/platform/*/load",
        ],
        0.001,
    ),
    "jetson_gpu_frequency_hertz": (["class/devfreq/*%s*/cur_freq" % name for name in GPU_NAMES], 1.0),
}
# The power supply's zone is a fixed 100 degrees; a zone that is switched off has less than there is on earth.
FAKE_ZONE = "PMIC"
COLDEST = -100.0
# An INA3221 measures three rails; one that is not connected is named so.
RAILS = (1, 2, 3)
NOT_CONNECTED = "NC"
HELP = {
    "jetson_gpu_load_ratio": "Part of the time the GPU worked, 0 to 1.",
    "jetson_gpu_frequency_hertz": "Present clock of the GPU.",
    "jetson_temperature_celsius": "Temperature of a thermal zone.",
    "jetson_power_watts": "Power of a rail of the board.",
    "jetson_collector_up": "1 on a Jetson of which something could be read, else 0.",
    "jetson_collector_seen_timestamp_seconds": "When the board was looked at.",
}


def read(path: str) -> str:
    """Return what a file of the kernel says, an empty text where it says nothing.

    A part that is switched off answers EAGAIN, which os.read tells and a file object hides.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 4096).decode("ascii", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def number(path: str) -> Optional[float]:
    """Return the number in a file, None where there is none."""
    try:
        return float(read(path))
    except ValueError:
        return None


def gpu() -> List[Sample]:
    """Return load and clock, each from the first file that has it."""
    found: List[Sample] = []
    for metric, (patterns, unit) in GPU.items():
        paths = [path for pattern in patterns for path in sorted(glob.glob("%s/%s" % (SYS, pattern)))]
        value = next((one for one in map(number, paths) if one is not None), None)
        if value is not None:
            found.append((metric, {}, value * unit))
    return found


def temperatures() -> List[Sample]:
    """Return the temperature of every zone that measures one."""
    found: Dict[str, float] = {}
    for zone in sorted(glob.glob(SYS + "/devices/virtual/thermal/thermal_zone*")):
        name, value = read(zone + "/type"), number(zone + "/temp")
        if value is not None and value / 1000 > COLDEST and not name.startswith(FAKE_ZONE):
            found[name] = value / 1000
    return [("jetson_temperature_celsius", {"zone": name}, value) for name, value in found.items()]


def power() -> List[Sample]:
    """Return the power of every rail that is measured; volts times amperes where power itself is not told."""
    found: Dict[str, float] = {}
    for monitor in sorted(glob.glob(SYS + "/class/hwmon/hwmon*")):
        if not read(monitor + "/name").startswith("ina"):
            continue
        for rail in RAILS:
            name = read("%s/in%d_label" % (monitor, rail)) or "%s in%d" % (os.path.basename(monitor), rail)
            microwatts = number("%s/power%d_input" % (monitor, rail))
            if microwatts is None:
                millivolts = number("%s/in%d_input" % (monitor, rail))
                milliamperes = number("%s/curr%d_input" % (monitor, rail))
                if millivolts is None or milliamperes is None:
                    continue
                microwatts = millivolts * milliamperes
            if name != NOT_CONNECTED:
                found[name] = microwatts / 1e6
    return [("jetson_power_watts", {"rail": name}, value) for name, value in found.items()]


def samples(now: float) -> List[Sample]:
    """Return all there is to say at this moment; of a machine that is no Jetson only that."""
    found = [*gpu(), *temperatures(), *power()] if os.path.exists(RELEASE) else []
    return [
        *found,
        ("jetson_collector_up", {}, float(bool(found))),
        ("jetson_collector_seen_timestamp_seconds", {}, float(int(now))),
    ]


def look() -> str:
    """Return the metrics of this moment."""
    return text(samples(time.time()), HELP)


if __name__ == "__main__":
    hand_out("aicluster_jetson", float(sys.argv[1]), look)
