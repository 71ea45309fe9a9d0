"""The lower bound: one ssh per node, one shell script that looks at the same and prints what differs."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from .desired import NodeState

_CONTAINERS = "http://docker/containers/json?all=1&filters=%7B%22label%22%3A%5B%22com.docker.compose.project%3Daicluster%22%5D%7D"
# The engine writes the keys of an object in alphabetical order: these three make up one container. No jq:
# not every board has it.
_FIELDS = "|".join(f'"{key}":"[^"]*"' for key in ("aicluster.digest", "com.docker.compose.service", "State"))
# Made and not started, or ended when the mode changed.
_SLEEPERS = """sed -E 's/"State":"(created|exited)"/"State":"asleep"/'"""


def same(command: str, expected: str, what: str) -> str:
    """Return a line of shell that complains unless a command prints what is expected."""
    return f'[ "$({command})" = {shlex.quote(expected)} ] || echo "differs: {what}"'


def container_lines(containers: Mapping[str, str], asleep: Collection[str]) -> str:
    """Return what the script makes of the engine's answer: services run with these digests, or are asleep."""
    return "\n".join(
        sorted(
            f'"aicluster.digest":"{digest}" "com.docker.compose.service":"{name}" '
            f'"State":"{"asleep" if name in asleep else "running"}"'
            for name, digest in containers.items()
        )
    )


def check_script(node: NodeState) -> str:
    """Return the POSIX script; it prints nothing when the node is as it should be."""
    lines = ["export LC_ALL=C"]
    if node.files:
        sums = "\n".join(f"{file.sha256}  {file.path}" for file in node.files)
        lines.append(f"sha256sum --check --strict --quiet 2>&1 <<'END'\n{sums}\nEND")
        paths = shlex.join(file.path for file in node.files)
        modes = "\n".join(f"{int(file.mode, 8):o} {file.uid}:{file.gid} {file.path}" for file in node.files)
        lines.append(same(f"stat -c '%a %u:%g %n' {paths} 2>&1", modes, "owner or mode of a file"))
    if node.packages:
        query = f"dpkg-query -W -f '${{db:Status-Status}}\\n' {shlex.join(node.packages)} 2>&1 | sort -u"
        lines.append(same(query, "installed", "packages"))
    for unit in node.units:
        name = shlex.quote(unit)
        lines.append(
            f"{{ systemctl is-active --quiet {name} && systemctl is-enabled --quiet {name}; }}"
            f' || echo "differs: {unit}"'
        )
    lines.append(f"found=$(curl -s --unix-socket /run/docker.sock {shlex.quote(_CONTAINERS)})")
    listing = (
        f"printf %s \"$found\" | grep -oE {shlex.quote(_FIELDS)} | paste -d ' ' - - - | {_SLEEPERS} | sort"
    )
    lines.append(same(listing, container_lines(node.containers, node.asleep), "containers"))
    lines.append('case $found in *"(unhealthy)"*) echo "differs: a container is unhealthy" ;; esac')
    for service, subject in node.probes.items():
        # Without quotes: a file may lie below `~<user>`.
        ask = f"curl -fs {shlex.quote(subject)}" if "://" in subject else f"cat {subject}"
        lines.append(f'{ask} >/dev/null || echo "differs: {service} does not answer"')
    return "\n".join(lines) + "\n"


def driver_script(nodes: Sequence[NodeState], folder: Path) -> str:
    """Return the controller's part: all nodes at once; exit code 1 if a node differs or does not answer."""
    lines = [f"cd {shlex.quote(str(folder))} || exit 1"]
    for node in nodes:
        ssh = shlex.join([*node.ssh, "sudo -n sh -s"])
        lines.append(
            f"{{ {ssh} <{node.host}.sh >{node.host}.out 2>&1 || echo ssh failed >>{node.host}.out; }} &"
        )
    outputs = " ".join(f"{node.host}.out" for node in nodes)
    return "\n".join([*lines, "wait", f"! grep . {outputs}"]) + "\n"


def write_scripts(nodes: Sequence[NodeState], folder: Path) -> Path:
    """Write all scripts into `folder`; return the controller's."""
    folder.mkdir(parents=True, exist_ok=True)
    for node in nodes:
        (folder / f"{node.host}.sh").write_text(check_script(node))
    driver = folder / "all.sh"
    driver.write_text(driver_script(nodes, folder))
    return driver
