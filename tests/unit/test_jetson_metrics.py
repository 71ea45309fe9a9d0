"""What a Jetson says of its GPU, its temperatures and its power, read from a made-up /sys."""

import os
from pathlib import Path

import aicluster_jetson
import pytest
from aicluster_jetson import samples
from aicluster_textfile import text

NANO = {
    "devices/gpu.0/load": "250",
    "class/devfreq/57000000.gpu/cur_freq": "76800000",
    "devices/virtual/thermal/thermal_zone0/type": "CPU-therm",
    "devices/virtual/thermal/thermal_zone0/temp": "41500",
    "devices/virtual/thermal/thermal_zone1/type": "PMIC-Die",
    "devices/virtual/thermal/thermal_zone1/temp": "100000",
}
NANO_SAYS = {
    "jetson_gpu_load_ratio 0.25",
    "jetson_gpu_frequency_hertz 76800000.0",
    'jetson_temperature_celsius{zone="CPU-therm"} 41.5',
    "jetson_collector_up 1.0",
}
ORIN = {
    "class/devfreq/17000000.gpu/device/load": "1000",
    "class/devfreq/17000000.gpu/cur_freq": "1300500000",
    "devices/virtual/thermal/thermal_zone0/type": "cpu-thermal",
    "devices/virtual/thermal/thermal_zone0/temp": "48093",
    "devices/virtual/thermal/thermal_zone1/type": "cv0-thermal",
    "devices/virtual/thermal/thermal_zone1/temp": "-256000",
    "class/hwmon/hwmon0/name": "tmp451",
    "class/hwmon/hwmon0/in1_input": "1",
    "class/hwmon/hwmon1/name": "ina3221",
    "class/hwmon/hwmon1/in1_label": "VDD_IN",
    "class/hwmon/hwmon1/in1_input": "5000",
    "class/hwmon/hwmon1/curr1_input": "1200",
    "class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "class/hwmon/hwmon1/power2_input": "2500000",
    "class/hwmon/hwmon1/in3_label": "NC",
    "class/hwmon/hwmon1/in3_input": "5000",
    "class/hwmon/hwmon1/curr3_input": "1",
}
ORIN_SAYS = {
    "jetson_gpu_load_ratio 1.0",
    "jetson_gpu_frequency_hertz 1300500000.0",
    'jetson_temperature_celsius{zone="cpu-thermal"} 48.093',
    'jetson_power_watts{rail="VDD_IN"} 6.0',
    'jetson_power_watts{rail="VDD_CPU_GPU_CV"} 2.5',
    "jetson_collector_up 1.0",
}


@pytest.fixture
def board(tmp_path, monkeypatch):
    def make(files: dict[str, str], jetson: bool = True) -> Path:
        for name, content in files.items():
            path: Path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
        if jetson:
            (tmp_path / "release").write_text("# R36 (release)\n")
        return Path(tmp_path / "sys")

    monkeypatch.setattr(aicluster_jetson, "SYS", str(tmp_path / "sys"))
    monkeypatch.setattr(aicluster_jetson, "RELEASE", str(tmp_path / "release"))
    return make


def said() -> list[str]:
    lines = text(samples(7.5), aicluster_jetson.HELP).splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize(("files", "jetson", "lines"), [
    pytest.param(NANO, True, NANO_SAYS, id="JetPack 4"),
    pytest.param(ORIN, True, ORIN_SAYS, id="JetPack 6"),
    pytest.param(ORIN, False, {"jetson_collector_up 0.0"}, id="no Jetson"),
    pytest.param({}, True, {"jetson_collector_up 0.0"}, id="a Jetson that says nothing"),
])  # fmt: skip
def test_a_board_says_what_it_measures_and_nothing_it_does_not(board, files, jetson, lines):
    board(files, jetson)
    assert set(said()) == {*lines, "jetson_collector_seen_timestamp_seconds 7.0"}


def test_a_zone_that_is_switched_off_is_left_out_and_holds_nothing_up(board):
    zone = board(NANO) / "devices/virtual/thermal/thermal_zone0/temp"
    zone.unlink()
    os.mkfifo(zone)  # without a word in it, it answers EAGAIN, too
    with zone.open("r+b", buffering=0):
        assert not [line for line in said() if line.startswith("jetson_temperature")]
