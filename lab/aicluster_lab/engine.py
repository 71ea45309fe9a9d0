"""The host's Docker Engine: found, or installed and started on Debian and Ubuntu."""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from .errors import LabError
from .progress import Progress

OLDEST = (20, 10)
PACKAGES = ("docker.io", "iptables", "iproute2", "debootstrap", "openssh-client")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
CLIENT_TIMEOUT_S = 600
UNIT = "docker.service"
BRIDGE = "docker0"


def connect(state: Path, progress: Progress) -> docker.DockerClient:
    """Client of the host's Docker Engine; installs and starts one where none answers and root may."""
    client = answering()
    if client:
        require_usable(client.info())
        return client
    require_installable(os.geteuid(), platform.freedesktop_os_release(), "DOCKER_HOST" in os.environ)
    with progress.step("Docker Engine: install and start"):
        install_missing(("dockerd", "iptables", "ip", "ssh-keygen"))
        return _start(state)


def answering() -> docker.DockerClient | None:
    """Client of the engine that answers now, if one does."""
    try:
        client = docker.from_env(timeout=CLIENT_TIMEOUT_S)
        client.ping()
    except DockerException:
        return None
    return client


def require_installable(uid: int, os_release: Mapping[str, str], foreign_engine: bool) -> None:
    """Raise LabError if the lab cannot install an engine here."""
    if foreign_engine:
        raise LabError("No Docker Engine answers at DOCKER_HOST. Start that engine, or unset DOCKER_HOST.")
    system = {os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()}
    if not system & {"debian", "ubuntu"}:
        raise LabError(
            "No Docker Engine answers, and the lab cannot install one on "
            f"{os_release.get('PRETTY_NAME', 'this system')}: it knows Debian and Ubuntu. "
            "Install and start Docker Engine 20.10 or newer, then run this again."
        )
    if uid:
        raise LabError(
            "No Docker Engine answers for this user. Either start it and join its group "
            "(`sudo systemctl start docker; sudo usermod -aG docker $USER`, then log in again), or run this "
            "as root, which installs and starts one."
        )


def require_usable(info: Mapping[str, Any]) -> None:
    """Raise LabError if nodes cannot run on the engine that answered `docker info` so."""
    version = str(info.get("ServerVersion", ""))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST:
        raise LabError(
            f"Docker Engine {version} is too old for the lab: it needs {OLDEST[0]}.{OLDEST[1]} or newer."
        )
    if "name=rootless" in info.get("SecurityOptions", []):
        raise LabError(
            "This Docker Engine runs rootless, and the lab's nodes need the rights of a machine. Use the "
            "system's engine: unset DOCKER_HOST, or `docker context use default`."
        )
    if info.get("OperatingSystem") == "Docker Desktop":
        raise LabError(
            "Docker Desktop keeps its containers in a virtual machine where Ansible cannot reach them. Use a "
            "Docker Engine on Linux: `docker context use default` where one runs beside it."
        )


def install_missing(commands: tuple[str, ...]) -> None:
    """Install PACKAGES with apt unless all the commands exist. Needs root on Debian or Ubuntu."""
    if all(shutil.which(command) for command in commands):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (("update",), ("install", "-y", "--no-install-recommends", *PACKAGES)):
        result = subprocess.run(
            ["apt-get", "-q", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if result.returncode:
            tail = "\n".join((result.stdout + result.stderr).splitlines()[-20:])
            raise LabError(f"apt-get {' '.join(arguments)} failed; repair it and run this again:\n{tail}")


def _start(state: Path) -> docker.DockerClient:
    log = state / "dockerd.log"
    state.mkdir(exist_ok=True)
    client = answering()  # the package's own scripts may have started it
    unit = Path("/run/systemd/system").is_dir()
    if unit:
        subprocess.run(["systemctl", "start", UNIT], check=False)
        started: dict[str, Any] = {"unit": UNIT}
    elif client:
        return client
    else:
        with log.open("ab") as output:
            process = subprocess.Popen(["dockerd"], stdout=output, stderr=output, start_new_session=True)
        started = {"unit": "", "pid": process.pid, "start_ticks": _start_ticks(process.pid)}
    (state / "engine.json").write_text(json.dumps(started))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        client = answering()
        if client:
            return client
        time.sleep(0.5)
    where = f"journalctl -u {UNIT}" if unit else str(log)
    tail = "" if unit else "\n" + "\n".join(log.read_text().splitlines()[-15:])
    raise LabError(f"Docker Engine did not answer within {START_TIMEOUT_S} s; its log is {where}.{tail}")


def stop(state: Path) -> bool:
    """Stop the engine if this lab started it and no other container runs on it. True if it was stopped."""
    record = state / "engine.json"
    if not record.exists():
        return False
    client = answering()
    if client and client.containers.list():
        return False  # somebody else has come to use it
    started = json.loads(record.read_text())
    record.unlink()
    if started["unit"]:
        subprocess.run(["systemctl", "stop", "docker.socket", started["unit"]], check=False)
    elif _start_ticks(started["pid"]) == started["start_ticks"]:
        _end_process(started["pid"], started["start_ticks"])
    else:
        return False
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)
    return True


def _end_process(pid: int, start_ticks: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _start_ticks(pid) == start_ticks:
        if time.monotonic() > deadline:
            raise LabError(f"dockerd (process {pid}), which the lab started, does not end. Stop it by hand.")
        time.sleep(0.2)


def _start_ticks(pid: int) -> int:
    """Start time of a process in clock ticks, 0 if it is gone: with the pid it names a process for good."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])
