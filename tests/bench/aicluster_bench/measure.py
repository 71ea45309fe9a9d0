"""Wall clock, CPU of both sides and memory of one command."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_S = 0.1
# Looking at memory costs CPU that the measured command lacks: at most a twentieth of one core.
_SAMPLE_SHARE = 20
# Between vfork and exec a child shows its parent's memory as its own; it is not counted that young.
_NEWBORN_S = 0.03
_END_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Cost:
    """What one run of a command cost: seconds, and MiB of anonymous memory of all its processes at once."""

    wall_s: float
    controller_cpu_s: float
    target_cpu_s: float
    """As read from the nodes' accounts; what the nodes do anyway is still in it."""
    controller_mb: float
    code: int
    output: str


# ---------------------------------------------------------------- CPU accounts of the nodes


def account_path(membership: str, container_id: str) -> Path | None:
    """Return the file with the CPU time of a container, from /proc/<pid>/cgroup of one of its processes.

    cgroup v1: nanoseconds in cpuacct.usage; v2: `usage_usec` in cpu.stat. A process may sit in a group of
    its own below the container's: the path is cut after the container's id. None when the id is not in it.
    """
    paths: dict[str, str] = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    for controller, root, name in (
        ("cpuacct", "/sys/fs/cgroup/cpuacct", "cpuacct.usage"),
        ("", "/sys/fs/cgroup", "cpu.stat"),
    ):
        parts = Path(paths.get(controller, "")).parts
        ends = [index for index, part in enumerate(parts) if container_id in part]
        if ends:
            return Path(root, *parts[1 : ends[0] + 1], name)
    return None


def cpu_seconds(text: str) -> float:
    """Return seconds from the text of cpuacct.usage (v1) or cpu.stat (v2)."""
    if text.strip().isdigit():
        return int(text) / 1e9
    fields = dict(line.split(None, 1) for line in text.splitlines())
    return int(fields["usage_usec"]) / 1e6


def total_cpu_seconds(accounts: Iterable[Path]) -> float:
    """Return CPU seconds of all accounts together."""
    return sum(cpu_seconds(path.read_text()) for path in accounts)


def idle_rate(accounts: Sequence[Path], seconds: float) -> float:
    """Return CPU seconds per second the nodes use while nobody asks them: health checks, services."""
    before, began = total_cpu_seconds(accounts), time.monotonic()
    time.sleep(seconds)
    return (total_cpu_seconds(accounts) - before) / (time.monotonic() - began)


# ---------------------------------------------------------------- memory of the controller


@dataclass(frozen=True)
class Process:
    """A line of the process table."""

    pid: int
    parent: int
    started_s: float
    """Seconds after boot."""


def parse_stat(text: str, ticks: int) -> Process:
    """Return a process from the text of /proc/<pid>/stat; its name may hold blanks and brackets."""
    fields = text.rpartition(")")[2].split()
    return Process(int(text.split(None, 1)[0]), int(fields[1]), int(fields[19]) / ticks)


def descendants(table: Iterable[Process], root: int) -> list[Process]:
    """Return all processes below `root`, without itself."""
    children: dict[int, list[Process]] = {}
    for process in table:
        children.setdefault(process.parent, []).append(process)
    found, ahead = [], [root]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += [process.pid for process in below]
    return found


def anonymous_kb(rollup: str) -> int:
    """Return a process's share of anonymous memory from /proc/<pid>/smaps_rollup, in KiB.

    Forks share most of it until they write: Pss_Anon divides it among them. Old kernels do not say it;
    there every process is taken for the only owner.
    """
    fields = dict(line.split(":", 1) for line in rollup.splitlines()[1:] if ":" in line)
    value = fields.get("Pss_Anon") or fields.get("Anonymous") or "0 kB"
    return int(value.split()[0])


def process_table() -> list[Process]:
    """Return the running processes."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                found.append(parse_stat(Path(entry.path, "stat").read_text(), ticks))
    return found


def memory_below(root: int) -> float:
    """Return MiB of anonymous memory of everything below `root`."""
    adult = time.clock_gettime(time.CLOCK_BOOTTIME) - _NEWBORN_S
    total = 0
    for process in descendants(process_table(), root):
        if process.started_s <= adult:
            with contextlib.suppress(OSError):
                total += anonymous_kb(Path(f"/proc/{process.pid}/smaps_rollup").read_text())
    return total / 1024


# ---------------------------------------------------------------- one run


def adopt_orphans() -> None:
    """Become the parent of processes that outlive theirs, such as ssh's shared connections.

    Without it their CPU and memory would be nobody's.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end_orphans() -> None:
    """End what a command left running, and wait for it, so that it is counted.

    Raises TimeoutError if something does not end.
    """
    deadline = time.monotonic() + _END_TIMEOUT_S
    told: set[int] = set()
    while left := {p.pid for p in process_table() if p.parent == os.getpid()}:
        for pid in left - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        told |= left
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(left)} do not end")
        time.sleep(0.02)


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    accounts: Sequence[Path],
) -> Cost:
    """Run a command to its end in `folder` and return what it cost; its output goes to `log`."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    target, peak = total_cpu_seconds(accounts), 0.0
    with log.open("w") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while True:
            looked = time.monotonic()
            peak = max(peak, memory_below(os.getpid()))
            pause = max(_SAMPLE_S, _SAMPLE_SHARE * (time.monotonic() - looked))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pause)
                break
        wall = time.monotonic() - began
    target = total_cpu_seconds(accounts) - target
    end_orphans()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    return Cost(wall, cpu, target, peak, process.returncode, log.read_text(errors="replace"))
